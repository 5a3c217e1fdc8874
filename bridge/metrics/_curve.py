"""The score while a map's pixels are replaced one group after another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._pixels import pixel_values, positions
from bridge.metrics._score import Kind, scores

STEPS = 28  # RISE takes as many pixels a step as an image is wide, which are 28 at 28 pixels


@dataclass(frozen=True)
class Curve:
    """What a metric saw on its way: `values[i, k]` of image i where the share `at[k]` was done."""

    at: Tensor
    values: Tensor

    def area(self) -> Tensor:
        """The area under each image's curve over [0, 1] by the trapezoid rule, (n,).

        Over the shares themselves: the last step may be smaller than the others.

        >>> Curve(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 0.5, 0.0]])).area().tolist()
        [0.5]
        """
        return torch.trapezoid(self.values, self.at.to(self.values), dim=1)


def replaced_curve(
    model: ModelAdapter,
    target: Tensor,
    start: Tensor,
    end: Tensor,
    maps: Tensor,
    step: int | None,
    score: Kind,
) -> Curve:
    """The score from `start` to `end` (n, c, h, w), `step` pixels at a time, as the maps have them.

    The largest signed value first. The first point is `start` itself, the last one `end`.
    """
    place = positions(pixel_values(maps, start))
    pixels = place[0].numel()
    step = math.ceil(pixels / STEPS) if step is None else step
    counts = torch.arange(0, pixels + step, step, device=place.device).clamp(max=pixels)
    counts = counts.unique()

    def make(image: Tensor, k: Tensor) -> Tensor:
        done = place[image] < counts[k].view(-1, 1, 1)
        return torch.where(done[:, None], end[image], start[image])

    return Curve(counts.double() / pixels, scores(model, target, len(counts), make, score))


def passes_of(pixels: int, step: int | None = None, **_: Any) -> int:
    """How many images `replaced_curve` shows the model for each one."""
    return 1 + math.ceil(pixels / (math.ceil(pixels / STEPS) if step is None else step))
