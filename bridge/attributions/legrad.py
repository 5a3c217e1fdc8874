"""LeGrad: how sensitive the class score that each layer would give is to that layer's attention."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.attributions._attention import proved, sized
from bridge.attributions._blocks import blocks, given_by, logits_after
from bridge.core.attention import Explicit
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution


@attribution("legrad", paper="arXiv:2404.03214", needs=("tokens",))
def legrad(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool = False) -> Tensor:
    """mean_l mean_h,q (d s_l / d A_l)+, s_l the logit of layer l's mean token: (n, 1, h, w).

    A_l (heads, queries, keys) is layer l's attention, and s_l the target's logit where the mean of
    all tokens that block l gives stands in place of each token after the last block. At the patches
    as keys, on their grid; `upsample=True` gives the image's size (bilinear, align_corners=False).
    Bousselham et al. 2024, not normalised. Raises ValueError where a layer's attention stands in no
    module that takes tokens and gives tokens.
    """
    layers = blocks(model, x)
    mode = Explicit()
    with given_by(layers) as outputs:
        proved(model, x.detach().requires_grad_(), mode)
    means = [tokens.mean(1, keepdim=True).expand_as(tokens) for tokens in outputs]
    # One pass for all layers: what follows the last block sees them as so many images.
    logits = logits_after(model, x, layers[-1], torch.cat(means))
    scores = target_logits(logits, target.repeat(len(layers)))
    gradients = torch.autograd.grad(scores.sum(), mode.weights)
    by_layer = torch.stack([gradient.to(x).relu().mean((1, 2)) for gradient in gradients])
    return sized(model.tokens(x).as_map(by_layer.mean(0)), x, upsample)
