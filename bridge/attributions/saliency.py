"""Saliency: the absolute gradient of the target's logit."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import quiet
from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.core.tags import Cases


@attribution(
    "saliency",
    paper="arXiv:1312.6034",
    axioms=("dummy", "implementation invariance"),
    linear=lambda w, x: w.abs(),
)
def saliency(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """|d logit_t / d x|, same shape as x (Simonyan et al. 2013)."""
    return input_gradient(model, x, target).abs()


@saliency.fused("logit_gradient")
def fused(shared: Shared) -> Tensor:
    return shared["logit_gradient"].abs()


@saliency.twin("captum")
def captum(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import Saliency

    return quiet(Saliency(model).attribute, x, target=target, abs=True)


@saliency.variant("the absolute value is missing: it is the signed gradient")
def signed(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return input_gradient(model, x, target)


@saliency.variant("it multiplies by the image (input x gradient)")
def times_image(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return x * input_gradient(model, x, target)


@saliency.variant("it is |input x gradient|")
def absolute_times_image(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return times_image(model, x, target).abs()


saliency.cases = Cases("|d logit_target / d x|, per channel, in pixel units")
