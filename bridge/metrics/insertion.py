"""Insertion: how fast the score rises while the pixels that the map calls important are shown."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._curve import Curve, passes_of, replaced_curve
from bridge.metrics._replacement import Replacement, replacement
from bridge.metrics._score import Score
from bridge.metrics.deletion import Step
from bridge.metrics.registry import metric


@metric(
    "insertion",
    better="higher",
    paper="arXiv:1806.07421",
    passes=passes_of,
)
def insertion(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    step: Step = None,
    baseline: Replacement = "blur",
    score: Score = "probability",
) -> tuple[Tensor, Curve]:
    """The area under the score over the share of pixels shown, most important first, (n,).

    RISE (Petsiuk et al. 2018): from `baseline` (the blurred image) to the image itself, in the
    order and by the steps of `deletion`.
    """
    curve = replaced_curve(model, target, replacement(x, baseline), x, maps, step, score)
    return curve.area(), curve


@insertion.variant("the least important pixels are shown first")
def least_first(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return insertion(model, x, target, -maps, **params)


@insertion.variant("the map's absolute values order the pixels")
def by_size(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return insertion(model, x, target, maps.abs(), **params)


@insertion.variant("every point counts alike: the area is the mean of the curve, not the trapezoid")
def mean_of_points(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Any:
    return insertion(model, x, target, maps, **params)[1].values.mean(1)


@insertion.variant("it starts from black, not from the blurred image")
def from_black(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return insertion(model, x, target, maps, **{**params, "baseline": "zero"})
