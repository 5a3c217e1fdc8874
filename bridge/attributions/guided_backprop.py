"""Guided backpropagation: only positive gradients pass a ReLU, and only where it was active."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import SKIP, SKIP_PATH, clipped_at_inputs, quiet
from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution, get
from bridge.core.relu import guided_gradient
from bridge.core.shared import Shared
from bridge.core.tags import Cases


@attribution("guided_backprop", paper="arXiv:1412.6806", needs=("relu",), axioms=("dummy",))
def guided_backprop(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """d logit_t / d x with g * (x > 0) * (g > 0) at every nn.ReLU, same shape as x.

    (Springenberg et al. 2014.)
    """
    return guided_gradient(model, x, target)


@guided_backprop.fused("guided_gradient")
def fused(shared: Shared) -> Tensor:
    return shared["guided_gradient"]


def at_inputs(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return clipped_at_inputs(model, x, target, of_output=False)


@guided_backprop.twin("captum", differs=SKIP, instead=at_inputs)
def captum(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import GuidedBackprop

    return quiet(GuidedBackprop(model).attribute, x, target=target)


guided_backprop.cases = Cases(
    "d logit_target / d x with g * (input > 0) * (g > 0) in place of every ReLU's derivative, g "
    "what arrives at the ReLU's output: at the ReLU alone, a skip path keeps its gradient",
    traps=SKIP_PATH,
)


@guided_backprop.variant("it is the plain gradient: no ReLU is guided")
def plain(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return input_gradient(model, x, target)


@guided_backprop.variant("it is the deconvolution: g * (g > 0), without x > 0")
def deconvolved(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return get("deconvolution")(model, x, target)


@guided_backprop.variant("it is the absolute gradient")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return plain(model, x, target).abs()


@guided_backprop.variant("it is the gradient's positive part")
def positive_part(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return plain(model, x, target).relu()


@guided_backprop.variant("it multiplies by the image")
def times_image(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return x * guided_gradient(model, x, target)
