"""Relative stability (Agarwal et al. 2022): the change of a map over the change of something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from bridge.core.gradients import predicted
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.metrics._neighbours import Kind, neighbours
from bridge.metrics.measure import Explainer

Floor = Annotated[float, Domain(low=0)]
# (images, their neighbours, logits, the neighbours' logits) -> the change, (n,)
Change = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
# the changes by neighbours (k, n) -> (n,)
Over = Callable[[Tensor], Tensor]


def relative(before: Tensor, after: Tensor) -> Tensor:
    """|(before - after) / before|_2 of each image, (n,) float64, pixel by pixel.

    Of 0 there is no relative change: such a pixel is left out.

    >>> relative(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 5.0]])).tolist()
    [0.5]
    """
    before, after = before.double().flatten(1), after.double().flatten(1)
    there = before != 0
    return torch.where(there, (before - after) / before.where(there, 1.0), 0.0).norm(dim=1)


def absolute(before: Tensor, after: Tensor) -> Tensor:
    """|before - after|_2 of each image, (n,) float64."""
    return (before - after).double().flatten(1).norm(dim=1)


def largest(values: Tensor) -> Tensor:
    """The largest over neighbours (k, n) that is no NaN; NaN where all are."""
    found = values.nan_to_num(-torch.inf, torch.inf).amax(0)
    return torch.where(values.isnan().all(0), torch.nan, found)


def stability(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    change: Change,
    *,
    explain: Explainer,
    floor: float = 1e-6,
    radius: float = 0.02,
    samples: int = 10,
    perturbation: Kind = "uniform",
    noise: Tensor | None = None,
    moved: Callable[[Tensor, Tensor], Tensor] = relative,
    over: Over = largest,
    flipped: bool = False,
) -> Tensor:
    """max over neighbours x' of the same prediction: moved(map, map') / max(change, floor), (n,).

    With `flipped` those of another prediction count too. NaN where none is left, or the map is all
    zero.
    """
    with torch.no_grad():
        logits = model(x)
    ratios = []
    for each in neighbours(
        model, x, target, radius=radius, samples=samples, noise=noise, perturbation=perturbation
    ):
        with torch.no_grad():
            after = model(each)
        ratio = moved(maps, explain(each)) / change(x, each, logits, after).clamp(min=floor)
        same = predicted(after) == predicted(logits)
        ratios.append(ratio if flipped else torch.where(same, ratio, torch.nan))
    return torch.where(maps.flatten(1).any(1), over(torch.stack(ratios)), torch.nan)
