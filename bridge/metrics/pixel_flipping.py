"""Pixel flipping: the mean fall of the score while important pixels are replaced (AOPC)."""

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
    "pixel_flipping",
    better="higher",
    paper="arXiv:1509.06321",
    passes=passes_of,
)
def pixel_flipping(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    step: Step = None,
    baseline: Replacement = "mean",
    score: Score = "logit",
) -> tuple[Tensor, Curve]:
    """mean over k = 0 .. L of f(x) - f(x with the k first groups of pixels replaced), (n,).

    The area over the perturbation curve (Samek et al. 2017, eq. 12; Bach et al. 2015), whole
    pixels, all channels at once. The sum has L + 1 terms, of which the first is zero.
    """
    curve = replaced_curve(model, target, x, replacement(x, baseline), maps, step, score)
    return (curve.values[:, :1] - curve.values).mean(1), curve


@pixel_flipping.variant("it is the area under the score, not the mean fall (deletion)")
def area_under(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return pixel_flipping(model, x, target, maps, **params)[1].area()


@pixel_flipping.variant("the sum is divided by L, not by L + 1")
def by_steps(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    values, curve = pixel_flipping(model, x, target, maps, **params)
    points = len(curve.at)
    return values * points / (points - 1)


@pixel_flipping.variant("the least important pixels go first")
def least_first(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return pixel_flipping(model, x, target, -maps, **params)
