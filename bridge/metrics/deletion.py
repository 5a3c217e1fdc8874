"""Deletion: how fast the score falls while the pixels that the map calls important are taken."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.metrics._curve import Curve, passes_of, replaced_curve
from bridge.metrics._replacement import Replacement, replacement
from bridge.metrics._score import Score
from bridge.metrics.registry import metric

Step = Annotated[int | None, Domain(low=1, whole=True, optional=True, unit="pixels", others=(1, 7))]


@metric(
    "deletion",
    better="lower",
    paper="arXiv:1806.07421",
    passes=passes_of,
)
def deletion(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    step: Step = None,
    baseline: Replacement = "zero",
    score: Score = "probability",
) -> tuple[Tensor, Curve]:
    """The area under the score over the share of pixels replaced, most important first, (n,).

    RISE (Petsiuk et al. 2018): `step` pixels at a time (None: a 28th of the image), by `baseline`,
    the score being the target's "probability" (softmax), "logit", or "accuracy" (1 where it is
    predicted). Pixels in the order of the map's signed sum over channels, ties in reading order.
    """
    curve = replaced_curve(model, target, x, replacement(x, baseline), maps, step, score)
    return curve.area(), curve


@deletion.variant("the least important pixels go first")
def least_first(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return deletion(model, x, target, -maps, **params)


@deletion.variant("the map's absolute values order the pixels")
def by_size(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return deletion(model, x, target, maps.abs(), **params)


@deletion.variant("every point counts alike: the area is the mean of the curve, not the trapezoid")
def mean_of_points(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Any:
    return deletion(model, x, target, maps, **params)[1].values.mean(1)


@deletion.variant("the first point, with nothing replaced, is left out")
def without_start(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Any:
    curve = deletion(model, x, target, maps, **params)[1]
    return Curve(curve.at[1:], curve.values[:, 1:]).area()


@deletion.variant("the area is not divided by the number of steps (dx = 1)")
def unit_steps(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return torch.trapezoid(deletion(model, x, target, maps, **params)[1].values, dim=1)


@deletion.variant("the score is the logit, not the probability")
def of_logits(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return deletion(model, x, target, maps, **{**params, "score": "logit"})


@deletion.variant("it replaces pixels by the image's mean colour, not by zero")
def by_mean(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return deletion(model, x, target, maps, **{**params, "baseline": "mean"})
