"""Relative input stability: how much the explanation changes for how much the image changes."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Draw, Samples
from bridge.metrics._neighbours import Perturbation, Radius, explained, made
from bridge.metrics._relative import Floor, absolute, relative, stability
from bridge.metrics.measure import Explainer
from bridge.metrics.registry import metric


@metric(
    "relative_input_stability",
    better="lower",
    paper="arXiv:2203.06877",
    random=True,
    needs=("explain",),
    passes=partial(made, looked=True),
    explanations=explained,
)
def relative_input_stability(
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
    """max over x' of |(map(x) - map(x')) / map(x)|_2 / max(|(x - x') / x|_2, floor), (n,).

    Agarwal et al. 2022, equation 2, with p = 2: over the x' within `radius` that keep the
    prediction. Both changes are relative pixel by pixel; a pixel of 0, of which there is no
    relative change (the paper does not say), is left out. By `perturbation`: `samples` "uniform"
    draws (`noise`, (samples, n, c, h, w), gives them; they may leave the bounds), "adversarial"
    what the Linf attacks by the gradient return, "explanation" what an attack on the gradient's map
    returns: the same size, and "uniform" is their control. NaN where no x' keeps the prediction, or
    the map is all zero.
    """
    return stability(
        model, x, target, maps, _of_the_image, explain=explain, floor=floor,
        radius=radius, samples=samples, perturbation=perturbation, noise=noise,
    )  # fmt: skip


def _of_the_image(x: Tensor, near: Tensor, logits: Tensor, after: Tensor) -> Tensor:
    return relative(x, near)


def _of_the_whole(before: Tensor, after: Tensor) -> Tensor:
    """|before - after|_2 / |before|_2 of each image, (n,)."""
    before, after = before.double().flatten(1), after.double().flatten(1)
    return (before - after).norm(dim=1) / before.norm(dim=1)


@relative_input_stability.variant("x' that change the prediction count too")
def flipped(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    return stability(model, x, target, maps, _of_the_image, flipped=True, **params)


@relative_input_stability.variant("one x' that changes the prediction makes the image NaN")
def spoilt(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    # torch's own maximum lets a NaN through, as numpy's does.
    return stability(model, x, target, maps, _of_the_image, over=lambda v: v.amax(0), **params)


@relative_input_stability.variant("it is the mean over the x', not their maximum")
def mean(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    return stability(model, x, target, maps, _of_the_image, over=lambda v: v.nanmean(0), **params)


@relative_input_stability.variant(
    "changes are relative to the norm of the whole map and image, not pixel by pixel"
)
def whole(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    def of_the_image(x: Tensor, near: Tensor, *_: Tensor) -> Tensor:
        return _of_the_whole(x, near)

    return stability(model, x, target, maps, of_the_image, moved=_of_the_whole, **params)


@relative_input_stability.variant("the change of the map is not relative to the map")
def map_absolute(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Tensor:
    return stability(model, x, target, maps, _of_the_image, moved=absolute, **params)


@relative_input_stability.variant("the change of the image is not relative to the image")
def image_absolute(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Tensor:
    def of_the_image(x: Tensor, near: Tensor, *_: Tensor) -> Tensor:
        return absolute(x, near)

    return stability(model, x, target, maps, of_the_image, **params)


@relative_input_stability.variant("it divides by the map's values, but at least by 0.001")
def clipped(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    # The authors' first code does: it makes 0.001 of every negative value.
    def of_the_image(x: Tensor, near: Tensor, *_: Tensor) -> Tensor:
        return _clipped(x, near)

    return stability(model, x, target, maps, of_the_image, moved=_clipped, **params)


def _clipped(before: Tensor, after: Tensor) -> Tensor:
    before, after = before.double().flatten(1), after.double().flatten(1)
    return torch.div(before - after, before.clamp(min=1e-3)).norm(dim=1)
