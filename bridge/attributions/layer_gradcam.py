"""Grad-CAM: a layer's channels, weighted by how much each pushes the target's logit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.attributions._captum import grid_module
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.core.tags import Cases, Trap

Combine = Callable[[Tensor, Tensor], Tensor]  # activations and gradient into a map


def observed(
    asked: Sequence[Tensor], looked: Sequence[Tensor], x: Tensor, output: Tensor
) -> dict[str, list[Any]]:
    """Of its size, and of whether a value is negative."""
    return {
        "relu": [not bool((output < 0).any())],
        "upsample": [output.shape[2:] == x.shape[2:], False],
    }


@attribution(
    "layer_gradcam",
    paper="arXiv:1610.02391",
    needs=("layer",),
    axioms=("linearity",),
    observed=observed,
)
def layer_gradcam(
    model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool = False, upsample: bool = False
) -> Tensor:
    """sum_c mean_hw(d logit_t / d A_c) A_c of the model's layer A, (n, 1, h, w) of the layer.

    `relu=True` keeps the positive part, as the paper draws it; `upsample=True` gives the image's
    size (bilinear, align_corners=False). The layer is the one stated in `wrap`, else the last that
    all of the image goes through; patch tokens are laid out as the grid that they are (Selvaraju et
    al. 2016). Raises ValueError where no grid can be told, saying why.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> tuple(bridge.run("layer_gradcam", model, x, labels).output.shape)
    (2, 1, 7, 7)
    >>> tuple(bridge.run("layer_gradcam", model, x, labels, upsample=True).output.shape)
    (2, 1, 28, 28)
    """
    activations, gradient = activations_and_gradient(model, x, target)
    return _finished(_weighted(activations, gradient), x, relu, upsample)


def _weighted(activations: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True)


def _finished(cam: Tensor, x: Tensor, relu: bool, upsample: bool) -> Tensor:
    cam = cam.relu() if relu else cam
    if not upsample:
        return cam
    return F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False)


def activations_and_gradient(
    model: ModelAdapter, x: Tensor, target: Tensor, layer: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """The layer's output A and d logit_t / d A, both (n, c, h, w), of another layer where given."""
    found = model.grid_layer(x) if layer is None else None
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place; ours must stay what the layer gave

    layer = model.cam_layer(x) if layer is None else layer
    handle = layer.register_forward_hook(keep)
    try:
        # x needs a gradient, or the layer has no graph where the user froze the parameters.
        logits = model(x.detach().requires_grad_())
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(target_logits(logits, target).sum(), kept[0])
    if found is None:  # one that gives (n, c, h, w) itself
        return kept[0].detach(), gradient
    return found.grid(kept[0].detach()), found.grid(gradient)


@layer_gradcam.fused("layer")
def fused(shared: Shared, *, relu: bool, upsample: bool) -> Tensor:
    return _finished(_weighted(shared.activations, shared["layer"]), shared.x, relu, upsample)


@layer_gradcam.twin("captum", leaves="graph")
def captum(model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool, upsample: bool) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    with grid_module(model, x) as layer:
        cam = LayerGradCam(model, layer).attribute(
            x, target=target, attribute_to_layer_input=False, relu_attributions=relu
        )
    return LayerAttribution.interpolate(cam, tuple(x.shape[2:]), "bilinear") if upsample else cam


layer_gradcam.cases = Cases(
    "A = the output of the network's cam_layer, G = d logit_target / d A, both (n, k, h, w): "
    "sum_k (mean of G_k over its positions) A_k, (n, 1, h, w). relu: its positive part; "
    "upsample, after that: bilinear to the image's size, pixel centres at (i + 0.5) / size "
    "(align_corners=False), edges repeated",
    (
        {"relu": False, "upsample": False},
        {"relu": True, "upsample": False},
        {"relu": False, "upsample": True},
        {"relu": True, "upsample": True},
    ),
    traps={
        "relu-of-the-map": Trap(
            "relu=false keeps negative values",
            ("it applies a ReLU (relu=True)", "it never applies the ReLU"),
        ),
        "half-pixel-centres": Trap(
            "bilinear with pixel centres at (i + 0.5) / size",
            ("it upsamples with align_corners=True",),
        ),
    },
)


# Deviations, the likeliest first.


COMBINED = "(gradient.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True)"


def combining(sentence: str, *, rare: bool = False) -> Callable[[Combine], Combine]:
    """Register a deviation in how activations A and gradient g, both (n, c, h, w), make the map."""

    def register(combine: Combine) -> Combine:
        @layer_gradcam.variant(sentence, rare=rare, yours=combine, ours=COMBINED)
        def deviating(
            model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool, upsample: bool
        ) -> Tensor:
            return _finished(
                combine(*activations_and_gradient(model, x, target)), x, relu, upsample
            )

        return combine

    return register


def _mean(gradient: Tensor) -> Tensor:
    return gradient.mean((2, 3), keepdim=True)


layer_gradcam.variant("it applies a ReLU (relu=True)", relu=True)(layer_gradcam.reference)
layer_gradcam.variant("it never applies the ReLU", relu=False)(layer_gradcam.reference)


@combining("it applies the ReLU to the gradient")
def relu_of_gradient(activations: Tensor, gradient: Tensor) -> Tensor:
    return _weighted(activations, gradient.relu())


@combining(
    "it multiplies gradient and activation position by position (no averaging of the gradient)"
)
def by_position(activations: Tensor, gradient: Tensor) -> Tensor:
    return (gradient * activations).sum(1, keepdim=True)


@combining("it does not weight the channels")
def unweighted(activations: Tensor, gradient: Tensor) -> Tensor:
    return activations.sum(1, keepdim=True)


@combining("it averages the channels without weights")
def unweighted_mean(activations: Tensor, gradient: Tensor) -> Tensor:
    return activations.mean(1, keepdim=True)


@combining("it weights by the gradient's maximum instead of its mean")
def by_maximum(activations: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.amax((2, 3), keepdim=True) * activations).sum(1, keepdim=True)


@combining("it sums the gradient itself")
def gradient_alone(activations: Tensor, gradient: Tensor) -> Tensor:
    return gradient.sum(1, keepdim=True)


@combining("it weights by the absolute gradient")
def by_absolute(activations: Tensor, gradient: Tensor) -> Tensor:
    return (_mean(gradient).abs() * activations).sum(1, keepdim=True)


@combining("it averages the gradient over the batch as well")
def by_batch(activations: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.mean((0, 2, 3), keepdim=True) * activations).sum(1, keepdim=True)


layer_gradcam.variant(
    "it upsamples to the image's size although upsample is not set", upsample=True
)(layer_gradcam.reference)
layer_gradcam.variant("it does not upsample", upsample=False)(layer_gradcam.reference)


@layer_gradcam.variant("it upsamples by nearest instead of bilinear")
def nearest(model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool, **_: Any) -> Tensor:
    return F.interpolate(layer_gradcam(model, x, target, relu=relu), x.shape[2:])


@layer_gradcam.variant("it upsamples with align_corners=True")
def aligned(model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool, **_: Any) -> Tensor:
    cam = layer_gradcam(model, x, target, relu=relu)
    return F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=True)


@layer_gradcam.variant("it upsamples bicubically")
def bicubic(model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool, **_: Any) -> Tensor:
    cam = layer_gradcam(model, x, target, relu=relu)
    return F.interpolate(cam, x.shape[2:], mode="bicubic", align_corners=False)


@combining("it keeps the channels instead of summing them")
def channels_kept(activations: Tensor, gradient: Tensor) -> Tensor:
    return _mean(gradient) * activations


@combining("it takes the maximum over the weighted channels")
def largest_channel(activations: Tensor, gradient: Tensor) -> Tensor:
    return (_mean(gradient) * activations).amax(1, keepdim=True)


@combining("it sums the gradient over the layer's positions instead of averaging")
def by_sum(activations: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.sum((2, 3), keepdim=True) * activations).sum(1, keepdim=True)


@combining("it divides by the layer's positions once too often")
def divided_twice(activations: Tensor, gradient: Tensor) -> Tensor:
    return _weighted(activations, gradient) / gradient[0, 0].numel()


@combining("it averages over the layer's channels instead of summing")
def channel_mean(activations: Tensor, gradient: Tensor) -> Tensor:
    return (_mean(gradient) * activations).mean(1, keepdim=True)


# Only among several deviations at once.


@combining("it weights as Grad-CAM++ does", rare=True)
def plus_plus(activations: Tensor, gradient: Tensor) -> Tensor:
    share = 2 * gradient**2 + activations.sum((2, 3), keepdim=True) * gradient**3
    return _by_share(activations, gradient, share)


@combining("it weights as Grad-CAM++ does, with the sum of A g^3 for sum(A) g^3", rare=True)
def plus_plus_of_products(activations: Tensor, gradient: Tensor) -> Tensor:
    share = 2 * gradient**2 + (activations * gradient**3).sum((2, 3), keepdim=True)
    return _by_share(activations, gradient, share)


def _by_share(activations: Tensor, gradient: Tensor, share: Tensor) -> Tensor:
    alpha = gradient**2 / share.where(share != 0, 1.0)
    return ((alpha * gradient.relu()).sum((2, 3), keepdim=True) * activations).sum(1, keepdim=True)


@combining("it drops negative weights", rare=True)
def positive_weights(activations: Tensor, gradient: Tensor) -> Tensor:
    return (_mean(gradient).relu() * activations).sum(1, keepdim=True)


@combining("it weights by the gradient's norm", rare=True)
def by_norm(activations: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.norm(dim=(2, 3), keepdim=True) * activations).sum(1, keepdim=True)


def _convolution(place: int, words: str) -> None:
    """Register the deviation that a certain convolution is hooked."""

    @layer_gradcam.variant(f"it explains {words}, not the model's layer", rare=True)
    def deviating(
        model: ModelAdapter, x: Tensor, target: Tensor, *, relu: bool, upsample: bool
    ) -> Tensor:
        there = [m for m in model.module.modules() if isinstance(m, nn.Conv2d)]
        return _finished(
            _weighted(*activations_and_gradient(model, x, target, there[place])), x, relu, upsample
        )


_convolution(-1, "the last convolution")
_convolution(-2, "the last convolution but one")
_convolution(0, "the first convolution")
