"""The model's confidence in an image, and in what a map shows of it."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._pixels import pixel_values
from bridge.metrics._score import scores


def confidences(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor
) -> tuple[Tensor, Tensor]:
    """The target's probability on x, and on x times its map scaled into [0, 1]: (n,) each."""
    values = pixel_values(maps, x)
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    shown = torch.where(high > low, (values - low) / (high - low), 1.0)[:, None].to(x)

    def make(image: Tensor, k: Tensor) -> Tensor:
        return torch.where(k.bool().view(-1, 1, 1, 1), x[image] * shown[image], x[image])

    found = scores(model, target, 2, make, "probability")
    return found[:, 0], found[:, 1]
