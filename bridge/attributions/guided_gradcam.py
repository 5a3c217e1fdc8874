"""Guided Grad-CAM: guided backprop, where Grad-CAM is positive."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor
from torch.nn import functional as F

from bridge.attributions._captum import (
    SKIP,
    SKIP_PATH,
    clipped_at_inputs,
    grid_module,
    quiet,
)
from bridge.attributions._parts import fast
from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.core.registry import attribution, get
from bridge.core.shared import Shared
from bridge.core.tags import Cases

Interpolation = Annotated[str, Domain(choices=("nearest", "bilinear"))]


@attribution("guided_gradcam", paper="arXiv:1610.02391", needs=("layer", "relu"), axioms=("dummy",))
def guided_gradcam(
    model: ModelAdapter, x: Tensor, target: Tensor, *, interpolation: Interpolation = "nearest"
) -> Tensor:
    """guided_backprop * upsampled relu(layer_gradcam), same shape as x (Selvaraju et al. 2016).

    `interpolation` is "nearest" (Captum's default) or "bilinear" (the paper's).
    """
    cam = get("layer_gradcam")(model, x, target, relu=True)
    guided = get("guided_backprop")(model, x, target)
    return guided * F.interpolate(cam, x.shape[2:], mode=interpolation)


@guided_gradcam.fused("layer", "guided_gradient")
def fused(shared: Shared, *, interpolation: str) -> Tensor:
    cam = fast("layer_gradcam").function(shared, relu=True, upsample=False)
    return shared["guided_gradient"] * F.interpolate(cam, shared.x.shape[2:], mode=interpolation)


def at_inputs(model: ModelAdapter, x: Tensor, target: Tensor, *, interpolation: str) -> Tensor:
    guided = clipped_at_inputs(model, x, target, of_output=False)
    return _product(guided, _cam(model, x, target), interpolation)


@guided_gradcam.twin("captum", differs=SKIP, leaves="graph", instead=at_inputs)
def captum(model: ModelAdapter, x: Tensor, target: Tensor, *, interpolation: str) -> Tensor:
    from captum.attr import GuidedGradCam

    with grid_module(model, x) as layer:
        return quiet(
            GuidedGradCam(model, layer).attribute, x, target=target, interpolate_mode=interpolation
        )


guided_gradcam.cases = Cases(
    "guided_backprop * u(max(layer_gradcam, 0)), u to the image's size: nearest takes the value at "
    "floor(i * small / large), bilinear is layer_gradcam's",
    ({"interpolation": "nearest"}, {"interpolation": "bilinear"}),
    traps=SKIP_PATH,
)


def _product(guided: Tensor, cam: Tensor, mode: str) -> Tensor:
    return guided * F.interpolate(cam, guided.shape[2:], mode=mode)


def _guided(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return get("guided_backprop")(model, x, target)


def _cam(model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool = True) -> Tensor:
    return get("layer_gradcam")(model, x, target, relu=relu)


@guided_gradcam.variant("the ReLU of Grad-CAM is missing")
def no_relu(model: ModelAdapter, x: Tensor, target: Tensor, **_: Any) -> Tensor:
    cam = _cam(model, x, target, relu=False)
    return _product(_guided(model, x, target), cam, "nearest")


@guided_gradcam.variant("the ReLU of Grad-CAM is missing, and it upsamples bilinearly")
def no_relu_and_bilinear(model: ModelAdapter, x: Tensor, target: Tensor, **_: Any) -> Tensor:
    cam = _cam(model, x, target, relu=False)
    return _product(_guided(model, x, target), cam, "bilinear")


guided_gradcam.variant("it upsamples bilinearly instead of nearest", interpolation="bilinear")(
    guided_gradcam.reference
)
guided_gradcam.variant("it upsamples by nearest instead of bilinear", interpolation="nearest")(
    guided_gradcam.reference
)


@guided_gradcam.variant("it multiplies by the plain gradient instead of guided backprop")
def times_gradient(model: ModelAdapter, x: Tensor, target: Tensor, **_: Any) -> Tensor:
    return _product(input_gradient(model, x, target), _cam(model, x, target), "nearest")


@guided_gradcam.variant("it multiplies by the deconvolution instead of guided backprop")
def times_deconvolution(model: ModelAdapter, x: Tensor, target: Tensor, **_: Any) -> Tensor:
    deconvolved = get("deconvolution")(model, x, target)
    return _product(deconvolved, _cam(model, x, target), "nearest")


@guided_gradcam.variant("Grad-CAM is missing: it is guided backprop alone")
def guided_alone(model: ModelAdapter, x: Tensor, target: Tensor, **_: Any) -> Tensor:
    return _guided(model, x, target)


@guided_gradcam.variant("guided backprop is missing: it is Grad-CAM alone")
def cam_alone(model: ModelAdapter, x: Tensor, target: Tensor, **_: Any) -> Tensor:
    return get("layer_gradcam")(model, x, target, relu=True, upsample=True).expand_as(x)
