"""Chefer's relevance: attention weighted by its gradient, added up through the layers."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.attributions._attention import to_image, weights_and_gradients
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution


@attribution("chefer_relevance", paper="arXiv:2103.15679", needs=("tokens",))
def chefer_relevance(
    model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool = False
) -> Tensor:
    """R <- R + mean_h((d logit_t / d A_l * A_l)+) R from R = I: (n, 1, h, w) of the grid.

    A_l (heads, tokens, tokens) is layer l's attention. The row of the token that the logits are
    read from (the class token; the mean of the rows where there are several), at the patches.
    `upsample=True` gives the image's size (bilinear, align_corners=False). Chefer, Gur and Wolf
    2021 for self-attention; neither scaled nor normalised afterwards.
    """
    relevance = torch.eye(model.tokens(x).count).to(x)
    for attention, gradient in zip(*weights_and_gradients(model, x, target), strict=True):
        relevance = relevance + (gradient * attention).relu().mean(1) @ relevance
    return to_image(model, x, relevance, upsample)
