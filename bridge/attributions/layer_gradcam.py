"""Grad-CAM: a layer's channels, weighted by how much each pushes the target's logit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.gradients import target_logits
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.shared import Shared


@attribution("layer_gradcam", paper="arXiv:1610.02391", needs=("layer",))
def layer_gradcam(model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool = False, upsample: bool = False) -> Tensor:
    """sum_c mean_hw(d logit_t / d A_c) A_c of the model's layer A, (n, 1, h, w) of the layer (Selvaraju et al. 2016).

    `relu=True` keeps the positive part, as the paper draws it; `upsample=True` gives the image's size (bilinear,
    align_corners=False). The layer is the one named in `wrap`, else the last with a spatial output.
    """
    activations, gradient = activations_and_gradient(model, x, target)
    return _weighted(activations, gradient, x, relu, upsample)


def _weighted(activations: Tensor, gradient: Tensor, x: Tensor, relu: bool, upsample: bool) -> Tensor:
    cam = (gradient.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True)
    cam = cam.relu() if relu else cam
    return F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False) if upsample else cam


def activations_and_gradient(model: ModelAdapter, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's output A and d logit_t / d A, both (n, c, h, w)."""
    kept: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place; our copy must stay what the layer gave

    handle = model.cam_layer(x).register_forward_hook(keep)
    try:
        # x needs a gradient, or the layer's output has no graph where the user froze the parameters.
        logits = model(x.detach().requires_grad_())
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(target_logits(logits, target).sum(), kept[0])
    return kept[0].detach(), gradient


@layer_gradcam.fused("layer")
def _(shared: Shared, *, relu: bool, upsample: bool) -> Tensor:
    return _weighted(shared.activations, shared["layer"], shared.x, relu, upsample)


@layer_gradcam.twin("captum")
def _(model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool, upsample: bool) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(model, model.cam_layer(x)).attribute(
        x, target=target, attribute_to_layer_input=False, relu_attributions=relu
    )
    return LayerAttribution.interpolate(cam, tuple(x.shape[2:]), "bilinear") if upsample else cam
