"""Deconvolution: only positive gradients pass a ReLU, whether it was active or not."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import quiet
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.relu import deconvolution_gradient
from bridge.shared import Shared


@attribution("deconvolution", paper="arXiv:1311.2901", needs=("relu",))
def deconvolution(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """d logit_t / d x with g * (g > 0) at every nn.ReLU, same shape as x (Zeiler and Fergus 2013)."""
    return deconvolution_gradient(model, x, target)


@deconvolution.fused("deconvolution_gradient")
def _(shared: Shared) -> Tensor:
    return shared["deconvolution_gradient"]


@deconvolution.twin("captum")
def _(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import Deconvolution

    return quiet(Deconvolution(model).attribute, x, target=target)
