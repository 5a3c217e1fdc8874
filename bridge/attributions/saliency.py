"""Saliency: the absolute gradient of the target's logit."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import quiet
from bridge.gradients import input_gradient
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.shared import Shared


@attribution("saliency", paper="arXiv:1312.6034")
def saliency(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """|d logit_t / d x|, same shape as x (Simonyan et al. 2013)."""
    return input_gradient(model, x, target).abs()


@saliency.fused("logit_gradient")
def _(shared: Shared) -> Tensor:
    return shared["logit_gradient"].abs()


@saliency.twin("captum")
def _(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import Saliency

    return quiet(Saliency(model).attribute, x, target=target, abs=True)
