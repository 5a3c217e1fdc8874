"""What a probe saw at one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.types import Failure


@dataclass(frozen=True)
class Confused:
    """Images whose two largest logits are closer than a margin.

    `index` (k,) of the images, `classes` (k, 2), the larger first, `gap` (k,) of their logits.
    `gradients` (k, 2, c, h, w): of each of the two logits at the image, of this image alone.
    `towards` (k, 2, c, h, w): the image moved along each, by the probe's `push` in the L2 norm,
    within the bounds.
    """

    index: Tensor
    classes: Tensor
    gap: Tensor
    gradients: Tensor
    towards: Tensor


@dataclass(frozen=True)
class Record:
    """One step: `outputs` by method, `logits` (n, classes) and `accuracy` on the probe's images.

    `confused` are the images between two classes, where the probe has a margin. `failures` says
    which methods raised, and what.
    """

    step: int
    logits: Tensor
    accuracy: float
    outputs: Mapping[str, Tensor]
    confused: Confused | None = None
    failures: Sequence[Failure] = ()


def confused(
    model: ModelAdapter, x: Tensor, logits: Tensor, *, margin: float, push: float
) -> Confused:
    """The images of `x` (n, c, h, w) whose two largest `logits` are closer than `margin`."""
    top, classes = logits.topk(2, dim=1)
    gap = top[:, 0] - top[:, 1]
    index = (gap < margin).nonzero()[:, 0]
    images, pair = x[index], classes[index]
    if len(index):
        # Each image's own logit, by its own class: a sum would mix other images' classes in.
        gradients = torch.stack([input_gradient(model, images, pair[:, k]) for k in (0, 1)], 1)
    else:
        gradients = x.new_empty(0, 2, *x.shape[1:])
    length = gradients.flatten(2).norm(dim=2).clamp(min=1e-12)[..., None, None, None]
    towards = (images[:, None] + push * gradients / length).clamp(*model.bounds)
    return Confused(index.cpu(), pair.cpu(), gap[index].cpu(), gradients.cpu(), towards.cpu())
