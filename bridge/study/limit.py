"""The least that a method can take: its passes through the model at the fastest pass measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.core.engine import session
from bridge.core.model import ModelAdapter
from bridge.core.timer import clock
from bridge.core.types import Run

SIZES = (1, 4, 16)  # batches in which an image may be fastest, besides the one that is measured
TRIES = 4


@dataclass(frozen=True)
class Fastest:
    """Seconds an image of the fastest forward pass and of the fastest backward pass."""

    forward: float
    backward: float


def fastest_passes(model: ModelAdapter, x: Tensor) -> Fastest:
    """Measured on the first image of `x` (n, c, h, w) in batches of several sizes."""
    forward, both = [], []
    with session(model):
        for n in sorted({*SIZES, len(x)}):
            batch = x[:1].expand(n, *x.shape[1:]).contiguous()
            for _ in range(TRIES):
                forward.append(_seconds(_forward, model, batch) / n)
                both.append(_seconds(_backward, model, batch) / n)
    return Fastest(min(forward), max(0.0, min(both) - min(forward)))


def least(fastest: Fastest, run: Run, windows: Iterable[Run]) -> tuple[float, float]:
    """Seconds that the passes of a run take at least, and its forward passes.

    `windows` are the runs in it that may have computed windows of images in a way of their own:
    these count by their share of a pass's multiply-adds.
    """
    forwards = run.forwards + sum(_uncounted(each) for each in windows)
    return forwards * fastest.forward + run.backwards * fastest.backward, forwards


def _uncounted(run: Run) -> float:
    """Forward passes that did not go through the user's module, so that nobody counted them."""
    details = run.details
    computed = details.get("windows", 0) - details.get("skipped", 0)
    if not computed or details["engine"] == "whole images":
        return 0.0
    share = details.get("multiply_adds", 1.0) if details["engine"] == "incremental" else 1.0
    return computed * share


def _seconds(call: Callable[[ModelAdapter, Tensor], None], model: ModelAdapter, x: Tensor) -> float:
    start = clock(x.device)
    call(model, x)
    return clock(x.device) - start


def _forward(model: ModelAdapter, batch: Tensor) -> None:
    with torch.no_grad():
        model(batch)


def _backward(model: ModelAdapter, batch: Tensor) -> None:
    images = batch.detach().requires_grad_()
    torch.autograd.grad(model(images).sum(), images)
