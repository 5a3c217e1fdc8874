"""Input x gradient: the first-order term of the logit around zero."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import quiet
from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.core.tags import Cases


@attribution(
    "input_x_gradient",
    paper="arXiv:1605.01713",
    axioms=("dummy", "implementation invariance", "linearity"),
    linear=lambda w, x: w * x,
)
def input_x_gradient(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """x * d logit_t / d x, signed, same shape as x (Shrikumar et al. 2016). x is in pixel units."""
    return x * input_gradient(model, x, target)


@input_x_gradient.fused("logit_gradient")
def fused(shared: Shared) -> Tensor:
    return shared.x * shared["logit_gradient"]


@input_x_gradient.twin("captum", leaves="graph")
def captum(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import InputXGradient

    return quiet(InputXGradient(model).attribute, x, target=target)


@input_x_gradient.variant("the factor x is missing: it is the plain gradient")
def plain(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return input_gradient(model, x, target)


@input_x_gradient.variant("it multiplies by the normalised image instead of the pixels")
def times_normalised(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor | None:
    if model.mean is None or model.std is None:
        return None
    return (x - model.mean) / model.std * input_gradient(model, x, target)


@input_x_gradient.variant("it multiplies normalised image and normalised gradient")
def both_normalised(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor | None:
    if model.mean is None:
        return None
    return (x - model.mean) * input_gradient(model, x, target)


@input_x_gradient.variant("it multiplies by the centred image (x - 0.5)")
def times_centred(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return (x - 0.5) * input_gradient(model, x, target)


@input_x_gradient.variant("it multiplies by x - mean of the image")
def times_less_mean(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return (x - x.mean((1, 2, 3), keepdim=True)) * input_gradient(model, x, target)


@input_x_gradient.variant("it multiplies by the sign of the gradient only")
def times_sign(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return x * input_gradient(model, x, target).sign()


@input_x_gradient.variant("the gradient's absolute value is taken before multiplying")
def times_absolute(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return x * input_gradient(model, x, target).abs()


input_x_gradient.cases = Cases("x * d logit_target / d x, x the pixels before normalisation")
