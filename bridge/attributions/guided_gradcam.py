"""Guided Grad-CAM: guided backprop, where Grad-CAM is positive."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bridge.attributions._captum import quiet
from bridge.model import ModelAdapter
from bridge.registry import attribution, get
from bridge.relu import SKIP
from bridge.shared import Shared

INTERPOLATIONS = ("nearest", "bilinear")


@attribution("guided_gradcam", paper="arXiv:1610.02391", needs=("layer", "relu"))
def guided_gradcam(model: ModelAdapter, x: Tensor, target: Tensor, *, interpolation: str = "nearest") -> Tensor:
    """guided_backprop * upsampled relu(layer_gradcam), same shape as x (Selvaraju et al. 2016).

    `interpolation` is "nearest" (Captum's default) or "bilinear" (the paper's). Raises ValueError for another.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {interpolation!r}: expected one of {INTERPOLATIONS}")
    cam = get("layer_gradcam")(model, x, target, relu=True)
    return get("guided_backprop")(model, x, target) * F.interpolate(cam, x.shape[2:], mode=interpolation)


@guided_gradcam.fused("layer", "guided_gradient")
def _(shared: Shared, *, interpolation: str) -> Tensor:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {interpolation!r}: expected one of {INTERPOLATIONS}")
    cam = get("layer_gradcam").fast[0].function(shared, relu=True, upsample=False)
    return shared["guided_gradient"] * F.interpolate(cam, shared.x.shape[2:], mode=interpolation)


@guided_gradcam.twin("captum", differs=SKIP)
def _(model: ModelAdapter, x: Tensor, target: Tensor, *, interpolation: str) -> Tensor:
    from captum.attr import GuidedGradCam

    if interpolation not in INTERPOLATIONS:  # Captum would warn and return an empty tensor
        raise ValueError(f"unknown interpolation {interpolation!r}: expected one of {INTERPOLATIONS}")
    return quiet(GuidedGradCam(model, model.cam_layer(x)).attribute, x, target=target, interpolate_mode=interpolation)
