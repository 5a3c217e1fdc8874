"""Input x gradient: the first-order term of the logit around zero."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import quiet
from bridge.gradients import input_gradient
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.shared import Shared


@attribution("input_x_gradient", paper="arXiv:1605.01713")
def input_x_gradient(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """x * d logit_t / d x, signed, same shape as x (Shrikumar et al. 2016). x is in pixel units."""
    return x * input_gradient(model, x, target)


@input_x_gradient.fused("logit_gradient")
def _(shared: Shared) -> Tensor:
    return shared.x * shared["logit_gradient"]


@input_x_gradient.twin("captum")
def _(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import InputXGradient

    return quiet(InputXGradient(model).attribute, x, target=target)
