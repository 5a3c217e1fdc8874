"""Relative output stability: how much the explanation changes for how much the logits change."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Draw, Samples
from bridge.metrics._neighbours import Perturbation, Radius, explained, made
from bridge.metrics._relative import Floor, absolute, relative, stability
from bridge.metrics.measure import Explainer
from bridge.metrics.registry import metric


@metric(
    "relative_output_stability",
    better="lower",
    paper="arXiv:2203.06877",
    random=True,
    needs=("explain",),
    passes=partial(made, looked=True),
    explanations=explained,
)
def relative_output_stability(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    explain: Explainer,
    radius: Radius = 0.02,
    samples: Samples = 10,
    perturbation: Perturbation = "uniform",
    floor: Floor = 1e-6,
    noise: Draw = None,
) -> Tensor:
    """max over x' of |(map(x) - map(x')) / map(x)|_2 / max(|h(x) - h(x')|_2, floor), (n,).

    Agarwal et al. 2022, with p = 2 and h all logits: over the x' within `radius` that keep the
    prediction. The map's change is relative pixel by pixel, a pixel of 0 is left out. What
    `perturbation`, `samples` and `noise` say, and where it is NaN, is as with
    `relative_input_stability`.
    """
    return stability(
        model, x, target, maps, _of_logits, explain=explain, floor=floor,
        radius=radius, samples=samples, perturbation=perturbation, noise=noise,
    )  # fmt: skip


def _of_logits(x: Tensor, near: Tensor, logits: Tensor, after: Tensor) -> Tensor:
    return (logits.double() - after.double()).norm(dim=1)


@relative_output_stability.variant("x' that change the prediction count too")
def flipped(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    return stability(model, x, target, maps, _of_logits, flipped=True, **params)


@relative_output_stability.variant("one x' that changes the prediction makes the image NaN")
def spoilt(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    # torch's own maximum lets a NaN through, as numpy's does.
    return stability(model, x, target, maps, _of_logits, over=lambda v: v.amax(0), **params)


@relative_output_stability.variant("it is the mean over the x', not their maximum")
def mean(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    return stability(model, x, target, maps, _of_logits, over=lambda v: v.nanmean(0), **params)


@relative_output_stability.variant("it takes the change of the probabilities, not of the logits")
def probabilities(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Tensor:
    def of_softmax(x: Tensor, near: Tensor, logits: Tensor, after: Tensor) -> Tensor:
        return (logits.double().softmax(1) - after.double().softmax(1)).norm(dim=1)

    return stability(model, x, target, maps, of_softmax, **params)


@relative_output_stability.variant("the change of the logits is relative to the logits")
def logits_relative(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Tensor:
    def of_logits(x: Tensor, near: Tensor, logits: Tensor, after: Tensor) -> Tensor:
        return relative(logits, after)

    return stability(model, x, target, maps, of_logits, **params)


@relative_output_stability.variant("the change of the map is not relative to the map")
def map_absolute(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Tensor:
    return stability(model, x, target, maps, _of_logits, moved=absolute, **params)
