"""Integrated gradients at the tokens: the path is straight where the transformer begins."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from bridge.attributions._attention import sized
from bridge.attributions._baseline import baseline_images
from bridge.attributions._blocks import blocks, given_to, giver, logits_from
from bridge.attributions._captum import NO_TRAPEZOID, at_once
from bridge.attributions._path import RIEMANN, quadrature, requires_path
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Baseline, Domain, GradientSteps
from bridge.core.registry import attribution
from bridge.core.types import Unsupported

Quadrature = Annotated[str, Domain(choices=("gausslegendre", *RIEMANN))]


@attribution(
    "token_integrated_gradients",
    paper="arXiv:1703.01365",
    needs=("tokens",),
    requires=requires_path,
    axioms=("linearity",),
    quick={"n_steps": 12},
    quickest={"n_steps": 3},
    typical=lambda x, classes, *, n_steps, **_: (n_steps + 2, n_steps),
)
def token_integrated_gradients(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_steps: GradientSteps = 50,
    baseline: Baseline = 0.0,
    method: Quadrature = "gausslegendre",
    upsample: bool = False,
) -> Tensor:
    """sum_c (z - z') int_0^1 d logit_t / dz at z' + a (z - z') da, z the tokens: (n, 1, h, w).

    z (n, tokens, channels) is what the first block is given for the images (patches embedded,
    positions added), z' the same for the baseline, a number or an image in pixel units. The map is
    on the patches' grid and sums to logit_t(x) - logit_t(baseline), since prefix tokens do not
    depend on the image. `n_steps` points by the rule `method`, in Captum's words.
    `upsample=True` gives the image's size (bilinear, align_corners=False). (Sundararajan et al.
    2017, at a layer.) Raises ValueError where no block takes and gives tokens.
    """
    way, total = _way_and_gradient(model, x, target, n_steps, baseline, method)
    return sized(model.tokens(x).as_map((way * total).sum(2)), x, upsample)


def _way_and_gradient(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    n_steps: int,
    baseline: float | Tensor,
    method: str,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """z - z', and the mean gradient on the way there, (n, tokens, channels)."""
    block = blocks(model, x)[0]
    with torch.no_grad():
        end = given_to(model, x, block)
        start = given_to(model, baseline_images(x, baseline), block)
    total = torch.zeros_like(end)
    for point, weight in zip(*quadrature(method, n_steps), strict=True):
        tokens = (start + point * (end - start)).requires_grad_()
        logits = logits_from(model, x, block, tokens)
        (gradient,) = torch.autograd.grad(target_logits(logits, target).sum(), tokens)
        total += weight * gradient
    return end - start, total


@token_integrated_gradients.twin("captum")
def captum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_steps: int,
    baseline: float | Tensor,
    method: str,
    upsample: bool,
) -> Tensor:
    from captum.attr import LayerIntegratedGradients

    if method == "riemann_trapezoid":
        raise Unsupported(NO_TRAPEZOID.format((n_steps - 1) / n_steps))
    # Captum fails on a layer that is given None besides, as in Hugging Face's: it then looks at the
    # output of the module before.
    block = blocks(model, x)[0]
    before = giver(model, x, block)
    found = LayerIntegratedGradients(model, before or block).attribute(
        x,
        baselines=baseline_images(x, baseline).contiguous(),
        target=target,
        n_steps=n_steps,
        method=method,
        internal_batch_size=at_once(x, n_steps),
        attribute_to_layer_input=before is None,
    )
    return sized(model.tokens(x).as_map(found.sum(2)), x, upsample)


# Deviations, the likeliest first.


@token_integrated_gradients.variant("the factor (z - z') is missing: it sums the gradient")
def without_way(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    _, total = _way_and_gradient(model, x, target, **params)
    return sized(model.tokens(x).as_map(total.sum(2)), x, params["upsample"])


@token_integrated_gradients.variant("it sums absolute values over the channels")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    way, total = _way_and_gradient(model, x, target, **params)
    return sized(model.tokens(x).as_map((way * total).abs().sum(2)), x, params["upsample"])


@token_integrated_gradients.variant("it averages over the channels instead of summing")
def mean_of_channels(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    way, total = _way_and_gradient(model, x, target, **params)
    return sized(model.tokens(x).as_map((way * total).mean(2)), x, params["upsample"])


@token_integrated_gradients.variant("it takes the norm of the channels")
def norm_of_channels(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    way, total = _way_and_gradient(model, x, target, **params)
    return sized(model.tokens(x).as_map((way * total).norm(dim=2)), x, params["upsample"])


for _rule in ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"):
    token_integrated_gradients.variant(f"it takes the rule {_rule}", method=_rule)(
        token_integrated_gradients.reference
    )
for _words, _value in (("always 0", 0.0), ("white (1)", 1.0), ("gray (0.5)", 0.5)):
    token_integrated_gradients.variant(f"its baseline is {_words}", baseline=_value)(
        token_integrated_gradients.reference
    )
