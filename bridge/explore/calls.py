"""How a view's methods and its model are asked, so that the same view has the same bits.

`bridge.explore.reproduce` writes these calls as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bridge.core.engine import run
from bridge.core.method import Method
from bridge.core.model import ModelAdapter
from bridge.core.state import frozen, settings
from bridge.core.types import Run
from bridge.explore.view import View
from bridge.fused import chunk_size

# Images at once inside of a method: measured sizes may differ from process to process, and with
# them the last bits of what is seen.
CHUNK = 16
SMALL = 3 * 64 * 64  # numbers of an image


def called(method: Method, view: View, model: ModelAdapter, x: Tensor, classes: Tensor) -> Run:
    """One method with the view's parameters."""
    with chunk_size(CHUNK), threads_for(x):
        return run(
            method.name,
            model,
            x,
            classes,
            implementation=method.quickest,
            seed=view.seed,
            **view.given(method.name),
        )


def is_small(x: Tensor) -> bool:
    """Whether images (n, c, h, w) are so small that one thread is the quickest."""
    return x[0].numel() <= SMALL


@contextmanager
def threads_for(x: Tensor) -> Iterator[None]:
    """One thread for one small image: several wait for each other longer than they compute.

    Forty steps of PGD on a 28-pixel image take a third of the time so, on two cores.
    """
    with settings():
        if is_small(x):
            torch.set_num_threads(1)
        yield


@torch.inference_mode(False)
@torch.no_grad()
def logits_of(model: ModelAdapter, x: Tensor) -> Tensor:
    """What the model says of images, (n, classes)."""
    with frozen(model), threads_for(x):
        logits: Tensor = model(x)
        return logits
