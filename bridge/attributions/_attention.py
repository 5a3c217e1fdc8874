"""What methods that read attention share: its weights, their gradient, and the map of the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.core.attention import Explicit, explicit
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.tokens import by_head


def one_gradient(x: Tensor, classes: int, **_: object) -> tuple[float, float]:
    """Passes an image: the explicit one and its gradient, and the model's own as its proof."""
    return 2, 1


def proved(model: ModelAdapter, x: Tensor, mode: Explicit) -> Tensor:
    """The logits of a pass inside `mode`: see `explicit`, and what it raises."""
    return explicit(model, x, mode, half=model.facts(x).half)


def weights(model: ModelAdapter, x: Tensor) -> list[Tensor]:
    """Every layer's softmax, (n, heads, tokens, tokens), in order."""
    with torch.no_grad():
        mode = Explicit()
        proved(model, x, mode)
    return [plain(each, x) for each in mode.weights]


def weights_and_gradients(
    model: ModelAdapter, x: Tensor, target: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Every layer's softmax A, and d logit_t / d A, each (n, heads, tokens, tokens)."""
    mode = Explicit()
    # x needs a gradient, or there is no graph where the user froze the parameters.
    logits = proved(model, x.detach().requires_grad_(), mode)
    gradients = torch.autograd.grad(target_logits(logits, target).sum(), mode.weights)
    return [plain(each, x) for each in mode.weights], [plain(each, x) for each in gradients]


def plain(each: Tensor, x: Tensor) -> Tensor:
    """By head, in the images' dtype: some models take the softmax in float32."""
    return by_head(each.detach(), len(x)).to(x)


def times(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in their own precision, also under autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def to_image(model: ModelAdapter, x: Tensor, relevance: Tensor, upsample: bool) -> Tensor:
    """(n, tokens, tokens), to each token from each: the map of what the logits are read from.

    The mean over the rows of those tokens; (n, 1, height, width) of the grid, or of the image.
    """
    tokens = model.tokens(x)
    return sized(tokens.as_map(relevance[:, list(tokens.read)].mean(1)), x, upsample)


def sized(cam: Tensor, x: Tensor, upsample: bool) -> Tensor:
    """A map of the grid, or (`upsample`) of the image's size, bilinear, align_corners=False."""
    if not upsample:
        return cam
    return F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False)
