"""Chefer's relevance: attention weighted by its gradient, added up through the layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bridge.attributions._attention import one_gradient, times, to_image, weights_and_gradients
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution


@attribution(
    "chefer_relevance",
    paper="arXiv:2103.15679",
    needs=("tokens",),
    typical=one_gradient,
)
def chefer_relevance(
    model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool = False
) -> Tensor:
    """R <- R + mean_h((d logit_t / d A_l * A_l)+) R from R = I: (n, 1, h, w) of the grid.

    A_l (heads, tokens, tokens) is layer l's attention. The row of the token that the logits are
    read from (the class token; the mean of the rows where there are several), at the patches.
    `upsample=True` gives the image's size (bilinear, align_corners=False). Chefer, Gur and Wolf
    2021 for self-attention; neither scaled nor normalised afterwards.
    """
    weighted = [(g * a).relu().mean(1) for a, g in _layers(model, x, target)]
    return to_image(model, x, _added(weighted), upsample)


def _layers(model: ModelAdapter, x: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each layer its attention and its gradient."""
    return list(zip(*weights_and_gradients(model, x, target), strict=True))


def _added(layers: list[Tensor]) -> Tensor:
    """R <- R + A R for each of the layers, (n, tokens, tokens)."""
    relevance = torch.eye(layers[0].shape[-1]).to(layers[0]).expand_as(layers[0])
    for layer in layers:
        relevance = relevance + times(layer, relevance)
    return relevance


# Deviations, the likeliest first.

Weigh = Callable[[Tensor, Tensor], Tensor]  # attention and its gradient into (n, tokens, tokens)


def weighing(sentence: str) -> Callable[[Weigh], Weigh]:
    """Register a deviation in how a layer's attention a and gradient g, by head, are joined."""

    def register(weigh: Weigh) -> Weigh:
        @chefer_relevance.variant(sentence)
        def deviating(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool) -> Tensor:
            weighted = [weigh(a, g) for a, g in _layers(model, x, target)]
            return to_image(model, x, _added(weighted), upsample)

        return weigh

    return register


@weighing("the ReLU is missing")
def no_relu(attention: Tensor, gradient: Tensor) -> Tensor:
    return (gradient * attention).mean(1)


@weighing("the gradient is missing: it adds up the attention alone")
def attention_alone(attention: Tensor, gradient: Tensor) -> Tensor:
    return attention.mean(1)


@weighing("the attention is missing: it adds up the gradient's positive part")
def gradient_alone(attention: Tensor, gradient: Tensor) -> Tensor:
    return gradient.relu().mean(1)


@weighing("it takes the mean over the heads before the ReLU")
def mean_first(attention: Tensor, gradient: Tensor) -> Tensor:
    return (gradient * attention).mean(1).relu()


@weighing("it weights by the gradient's mean over the tokens")
def mean_gradient(attention: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.mean((2, 3), keepdim=True) * attention).relu().mean(1)


@weighing("it sums over the heads instead of averaging")
def sum_of_heads(attention: Tensor, gradient: Tensor) -> Tensor:
    return (gradient * attention).relu().sum(1)


@chefer_relevance.variant("it multiplies the layers in the opposite order")
def reversed_order(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool) -> Tensor:
    weighted = [(g * a).relu().mean(1) for a, g in _layers(model, x, target)]
    return to_image(model, x, _added(weighted[::-1]), upsample)


@chefer_relevance.variant("it takes the last layer alone")
def last_layer(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool) -> Tensor:
    weighted = [(g * a).relu().mean(1) for a, g in _layers(model, x, target)]
    return to_image(model, x, weighted[-1], upsample)
