"""LeGrad: how sensitive the class score that each layer would give is to that layer's attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bridge.attributions._attention import plain, sized, weights_and_gradients
from bridge.attributions._blocks import blocks, given_by, logits_after
from bridge.core.attention import Explicit, prove
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution


def typical(x: Tensor, classes: int, **_: object) -> tuple[float, float]:
    """A model of twelve layers, as most are: two passes, and the scores of each layer."""
    return 14, 12


@attribution("legrad", paper="arXiv:2404.03214", needs=("tokens",), typical=typical)
def legrad(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool = False) -> Tensor:
    """mean_l mean_h,q (d s_l / d A_l)+, s_l the logit of layer l's mean token: (n, 1, h, w).

    A_l (heads, queries, keys) is layer l's attention, and s_l the target's logit where the mean of
    all tokens that block l gives stands in place of each token after the last block. At the patches
    as keys, on their grid; `upsample=True` gives the image's size (bilinear, align_corners=False).
    Bousselham et al. 2024, not normalised. Raises ValueError where a layer's attention stands in no
    module that takes tokens and gives tokens.
    """
    _, gradients = _sensitivity(model, x, target, _mean_token)
    return _finished(model, x, [gradient.relu().mean((1, 2)) for gradient in gradients], upsample)


def _mean_token(tokens: Tensor) -> Tensor:
    return tokens.mean(1, keepdim=True).expand_as(tokens)


def _sensitivity(
    model: ModelAdapter, x: Tensor, target: Tensor, pool: Callable[[Tensor], Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Every layer's attention A_l, and d s_l / d A_l, s_l the logit of what `pool` makes of it."""
    layers = blocks(model, x)
    mode = Explicit()
    with given_by(layers) as outputs, mode:
        own = model(x.detach().requires_grad_())
    prove(model, x, own, mode, half=model.facts(x).half)
    # One pass for all layers: what follows the last block sees them as so many images.
    logits = logits_after(model, x, layers[-1], torch.cat([pool(tokens) for tokens in outputs]))
    scores = target_logits(logits, target.repeat(len(layers)))
    gradients = torch.autograd.grad(scores.sum(), mode.weights)
    return [plain(each, x) for each in mode.weights], [plain(each, x) for each in gradients]


def _finished(model: ModelAdapter, x: Tensor, by_layer: list[Tensor], upsample: bool) -> Tensor:
    """The mean over the layers, (n, tokens) each."""
    return sized(model.tokens(x).as_map(torch.stack(by_layer).mean(0)), x, upsample)


# Deviations, the likeliest first.

Reduce = Callable[[Tensor, Tensor], Tensor]  # attention and its gradient into (n, tokens)


def reducing(sentence: str) -> Callable[[Reduce], Reduce]:
    """Register a deviation in what is made of a layer's attention a and gradient g, by head."""

    def register(reduce: Reduce) -> Reduce:
        @legrad.variant(sentence)
        def deviating(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool) -> Tensor:
            found = zip(*_sensitivity(model, x, target, _mean_token), strict=True)
            return _finished(model, x, [reduce(a, g) for a, g in found], upsample)

        return reduce

    return register


@reducing("the ReLU is missing")
def no_relu(attention: Tensor, gradient: Tensor) -> Tensor:
    return gradient.mean((1, 2))


@reducing("it multiplies the gradient by the attention")
def times_attention(attention: Tensor, gradient: Tensor) -> Tensor:
    return (gradient * attention).relu().mean((1, 2))


@reducing("it averages over the heads before the ReLU")
def mean_first(attention: Tensor, gradient: Tensor) -> Tensor:
    return gradient.mean(1).relu().mean(1)


@reducing("it averages over the keys, and maps the queries")
def queries(attention: Tensor, gradient: Tensor) -> Tensor:
    return gradient.relu().mean((1, 3))


@legrad.variant("it scores each layer by the class token instead of the mean of all tokens")
def of_what_is_read(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool) -> Tensor:
    _, gradients = _sensitivity(model, x, target, lambda tokens: tokens)
    return _finished(model, x, [g.relu().mean((1, 2)) for g in gradients], upsample)


@legrad.variant("it takes the gradient of the model's own logit at every layer")
def of_the_logit(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool) -> Tensor:
    _, gradients = weights_and_gradients(model, x, target)
    return _finished(model, x, [g.relu().mean((1, 2)) for g in gradients], upsample)


@legrad.variant("it takes the last layer alone")
def last_layer(model: ModelAdapter, x: Tensor, target: Tensor, *, upsample: bool) -> Tensor:
    _, gradients = _sensitivity(model, x, target, _mean_token)
    return _finished(model, x, [gradients[-1].relu().mean((1, 2))], upsample)
