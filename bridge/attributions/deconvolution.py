"""Deconvolution: only positive gradients pass a ReLU, whether it was active or not."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import SKIP, SKIP_PATH, clipped_at_inputs, quiet
from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution, get
from bridge.core.relu import deconvolution_gradient
from bridge.core.shared import Shared
from bridge.core.tags import Cases


@attribution("deconvolution", paper="arXiv:1311.2901", needs=("relu",), axioms=("dummy",))
def deconvolution(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """d logit_t / d x with g * (g > 0) at every nn.ReLU, same shape as x (Zeiler, Fergus 2013)."""
    return deconvolution_gradient(model, x, target)


@deconvolution.fused("deconvolution_gradient")
def fused(shared: Shared) -> Tensor:
    return shared["deconvolution_gradient"]


def at_inputs(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return clipped_at_inputs(model, x, target, of_output=True)


@deconvolution.twin("captum", differs=SKIP, instead=at_inputs)
def captum(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import Deconvolution

    return quiet(Deconvolution(model).attribute, x, target=target)


deconvolution.cases = Cases(
    "d logit_target / d x with g * (g > 0) in place of every ReLU's derivative, g what arrives at "
    "the ReLU's output, whether the ReLU was active or not: at the ReLU alone, a skip path keeps "
    "its gradient",
    traps=SKIP_PATH,
)


@deconvolution.variant("it is the plain gradient: no ReLU is changed")
def plain(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return input_gradient(model, x, target)


@deconvolution.variant("it is guided backprop: g * (x > 0) * (g > 0)")
def guided(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return get("guided_backprop")(model, x, target)


@deconvolution.variant("it is the gradient's positive part")
def positive_part(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return plain(model, x, target).relu()


@deconvolution.variant("it multiplies by the image")
def times_image(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return x * deconvolution_gradient(model, x, target)
