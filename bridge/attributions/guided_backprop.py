"""Guided backpropagation: only positive gradients pass a ReLU, and only where it was active."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._captum import quiet
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.relu import SKIP, guided_gradient
from bridge.shared import Shared


@attribution("guided_backprop", paper="arXiv:1412.6806", needs=("relu",))
def guided_backprop(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """d logit_t / d x with g * (x > 0) * (g > 0) at every nn.ReLU, same shape as x (Springenberg et al. 2014)."""
    return guided_gradient(model, x, target)


@guided_backprop.fused("guided_gradient")
def _(shared: Shared) -> Tensor:
    return shared["guided_gradient"]


@guided_backprop.twin("captum", differs=SKIP)
def _(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    from captum.attr import GuidedBackprop

    return quiet(GuidedBackprop(model).attribute, x, target=target)
