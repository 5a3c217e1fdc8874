"""Attention rollout: how much of each patch's token arrives where the logits are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from bridge.attributions._attention import times, to_image, weights
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.core.registry import attribution

Fusion = Annotated[str, Domain(choices=("mean", "max", "min"))]


def two_passes(x: Tensor, classes: int, **_: object) -> tuple[float, float]:
    """The explicit one, and the model's own as its proof."""
    return 2, 0


@attribution(
    "attention_rollout",
    paper="arXiv:2005.00928",
    needs=("tokens",),
    gradient=False,
    typical=two_passes,
)
def attention_rollout(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    fusion: Fusion = "mean",
    upsample: bool = False,
) -> Tensor:
    """prod_l (A_l + I) / 2, A_l fused over the heads, rows summing to 1: (n, 1, h, w) of the grid.

    Of the token that the logits are read from (the class token; the mean where there are several),
    what each patch contributes; the same for every `target` (Abnar and Zuidema 2020). `fusion` of
    the heads is "mean" (the paper's), "max" or "min"; nothing is discarded. `upsample=True` gives
    the image's size (bilinear, align_corners=False).
    """
    layers = [_with_residual(_fused(each, fusion)) for each in weights(model, x)]
    return to_image(model, x, _product(layers), upsample)


def _fused(attention: Tensor, fusion: str) -> Tensor:
    """Over the heads: (n, heads, tokens, tokens) -> (n, tokens, tokens)."""
    if fusion == "mean":
        return attention.mean(1)
    return attention.amax(1) if fusion == "max" else attention.amin(1)


def _with_residual(attention: Tensor) -> Tensor:
    """(A + I) / 2, each row over its sum, which is one already for the mean."""
    mixed = attention + torch.eye(attention.shape[-1]).to(attention)
    return mixed / mixed.sum(-1, keepdim=True)


def _product(layers: list[Tensor]) -> Tensor:
    """A_L ... A_2 A_1."""
    total = layers[0]
    for layer in layers[1:]:
        total = times(layer, total)
    return total


# Deviations, the likeliest first.

Roll = Callable[[list[Tensor]], Tensor]  # fused layers into the product


def rolling(sentence: str) -> Callable[[Roll], Roll]:
    """Register a deviation in how the layers, (n, tokens, tokens) each, are multiplied."""

    def register(roll: Roll) -> Roll:
        @attention_rollout.variant(sentence)
        def deviating(
            model: ModelAdapter, x: Tensor, target: Tensor, *, fusion: str, upsample: bool
        ) -> Tensor:
            layers = [_fused(each, fusion) for each in weights(model, x)]
            return to_image(model, x, roll(layers), upsample)

        return roll

    return register


for _fusion in ("max", "min", "mean"):
    attention_rollout.variant(f"it fuses the heads by their {_fusion}", fusion=_fusion)(
        attention_rollout.reference
    )


@rolling("the residual is missing: it multiplies the attention alone")
def without_residual(layers: list[Tensor]) -> Tensor:
    return _product(layers)


@rolling("it multiplies the layers in the opposite order")
def reversed_order(layers: list[Tensor]) -> Tensor:
    return _product([_with_residual(layer) for layer in layers][::-1])


@rolling("it does not normalise the rows after fusing the heads")
def not_normalised(layers: list[Tensor]) -> Tensor:
    identity = torch.eye(layers[0].shape[-1]).to(layers[0])
    return _product([(layer + identity) / 2 for layer in layers])


@rolling("it adds the identity without halving, so that rows do not sum to 1")
def not_halved(layers: list[Tensor]) -> Tensor:
    identity = torch.eye(layers[0].shape[-1]).to(layers[0])
    return _product([layer + identity for layer in layers])


@rolling("it takes the last layer's attention alone")
def last_layer(layers: list[Tensor]) -> Tensor:
    return layers[-1]


@rolling("it takes the first layer's attention alone")
def first_layer(layers: list[Tensor]) -> Tensor:
    return layers[0]


@rolling("it averages the layers instead of multiplying them")
def mean_of_layers(layers: list[Tensor]) -> Tensor:
    return torch.stack(layers).mean(0)


@rolling("it takes the column of the token that is read, not its row")
def column(layers: list[Tensor]) -> Tensor:
    return _product([_with_residual(layer) for layer in layers]).transpose(1, 2)
