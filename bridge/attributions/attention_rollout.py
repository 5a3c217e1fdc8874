"""Attention rollout: how much of each patch's token arrives where the logits are read."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from bridge.attributions._attention import to_image, weights
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.core.registry import attribution

Fusion = Annotated[str, Domain(choices=("mean", "max", "min"))]


@attribution("attention_rollout", paper="arXiv:2005.00928", needs=("tokens",), gradient=False)
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
    return to_image(model, x, _rolled(_fused(model, x, fusion)), upsample)


def _fused(model: ModelAdapter, x: Tensor, fusion: str) -> list[Tensor]:
    """Every layer's attention, (n, tokens, tokens)."""
    return [fused(each, fusion) for each in weights(model, x)]


def fused(attention: Tensor, fusion: str) -> Tensor:
    """(n, heads, ...) -> (n, ...)."""
    if fusion == "mean":
        return attention.mean(1)
    return attention.amax(1) if fusion == "max" else attention.amin(1)


def _rolled(layers: list[Tensor], residual: float = 0.5) -> Tensor:
    """The product of the layers with their residual, the last layer first."""
    total = torch.eye(layers[0].shape[-1]).to(layers[0])
    for attention in layers:
        total = _with_residual(attention, residual) @ total
    return total


def _with_residual(attention: Tensor, residual: float) -> Tensor:
    identity = torch.eye(attention.shape[-1]).to(attention)
    mixed = (1 - residual) * attention + residual * identity
    return mixed / mixed.sum(-1, keepdim=True)
