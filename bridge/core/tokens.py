"""The tokens that a model's attention runs over: which cell of the image each is, proved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from bridge.core.attention import Explicit, check_seen
from bridge.core.blocks import Calls

Logits = Callable[[Tensor], Tensor]
MOST_PREFIX = 16  # class and distillation tokens, registers
CELLS = 6  # of the grid that are changed, one at a time
MOSTLY = 0.5  # of what moves when a cell changes must be its token's


@dataclass(frozen=True)
class Tokens:
    """`prefix` tokens, then the cells of a grid, row by row: (height, width) of them.

    `read` are the tokens that the logits are computed from after the last attention: the class
    token, or the patches where they are averaged. `blocks` names the module of each attention with
    its residual, tokens to tokens, all in a chain; () where there is no such module for each.
    """

    prefix: int
    height: int
    width: int
    layers: int
    read: tuple[int, ...]
    blocks: tuple[str, ...]

    @property
    def count(self) -> int:
        """All tokens, the prefix among them."""
        return self.prefix + self.height * self.width

    def as_map(self, relevance: Tensor) -> Tensor:
        """(n, tokens) -> (n, 1, height, width): the prefix is dropped."""
        return relevance[:, self.prefix :].reshape(-1, 1, self.height, self.width)


def find_tokens(model: Logits, module: nn.Module, x: Tensor, bounds: tuple[float, float]) -> Tokens:
    """The tokens of `model` (images to logits, whose parts are in `module`), shown one image of x.

    One pass with a gradient, and one of seven images for each grid that may be. Call it frozen and
    seeded. Raises ValueError, with the reason, where the layers of attention do not all run over
    the same tokens (windows, pooled keys, stages), or the tokens are not cells of the image.
    """
    image = x[:1].detach()
    mode, calls = Explicit(), Calls(module)
    with torch.enable_grad(), calls.watched(mode), mode:
        logits = model(image.clone().requires_grad_())
    check_seen(mode)
    _check_weights([by_head(each, 1) for each in mode.weights], 1)
    _check_order(mode.weights)
    count = mode.weights[0].shape[-1]
    for prefix, height, width in _grids(count, mode.grids, image.shape[2:]):
        if _proved(model, image, bounds, prefix, height, width):
            break
    else:
        raise ValueError(
            f"the {count} tokens of its attention could not be matched with cells of the image: "
            "changing one cell at a time does not move one token at a time, in their order"
        )
    read = _read(logits, mode.weights[-1])
    blocks = calls.blocks(model, image, len(mode.weights), count)
    return Tokens(prefix, height, width, len(mode.weights), read, blocks)


def _check_weights(weights: list[Tensor], images: int) -> None:
    """Raise ValueError unless all layers' weights are (images, heads, tokens, tokens)."""
    for layer, each in enumerate(weights):
        place = f"layer {layer + 1} of {len(weights)} of its attention"
        queries, keys = each.shape[-2:]
        if each.ndim != 4 or each.shape[0] != images:
            raise ValueError(
                f"{place} has weights {tuple(each.shape)} for a batch of {images}: it runs within "
                "windows, or over something else than the tokens of an image"
            )
        if queries != keys:
            raise ValueError(
                f"{place} has {queries} queries and {keys} keys: its tokens are pooled, and its "
                "layers cannot be multiplied"
            )
        if keys != weights[0].shape[-1]:
            raise ValueError(
                f"{place} runs over {keys} tokens, the first over {weights[0].shape[-1]}: its "
                "layers do not share their tokens"
            )


def _check_order(weights: list[Tensor]) -> None:
    """Raise ValueError where a layer's attention does not depend on the one's before."""
    for layer, (before, after) in enumerate(pairwise(weights), start=1):
        (gradient,) = torch.autograd.grad(after.sum(), before, allow_unused=True, retain_graph=True)
        if gradient is None:
            raise ValueError(
                f"layers {layer} and {layer + 1} of its attention run side by side: the second "
                "does not look at what the first gave, and they cannot be multiplied"
            )


def by_head(weights: Tensor, images: int) -> Tensor:
    """Weights as (images, heads, queries, keys), also where heads stand along the batch."""
    if weights.ndim == 3 and weights.shape[0] % images == 0:
        return weights.unflatten(0, (images, -1))
    return weights


def _grids(
    count: int, convolved: list[tuple[int, int]], image: torch.Size
) -> Iterator[tuple[int, int, int]]:
    """What (prefix, height, width) may be, the likeliest first.

    The output of a convolution, or else of the image's aspect ratio.
    """
    tall, wide = image
    shapes = [(h, w) for h, w in reversed(convolved)]
    shapes += [(h, h * wide // tall) for h in range(tall, 0, -1) if h * wide % tall == 0]
    for height, width in dict.fromkeys(shapes):
        if height * width > 1 and 0 <= count - height * width <= MOST_PREFIX:
            yield count - height * width, height, width


@torch.no_grad()
def _proved(
    model: Logits,
    image: Tensor,
    bounds: tuple[float, float],
    prefix: int,
    height: int,
    width: int,
) -> bool:
    """Whether a cell of the image that changes moves its own token, as query and as key.

    Seen in the scores of the first attention, before anything mixes the tokens: nothing should move
    but one row and one column.
    """
    low, high = bounds
    tall, wide = image.shape[2:]
    cells = torch.linspace(0, height * width - 1, CELLS).round().long().unique()
    images = image.repeat(len(cells) + 1, 1, 1, 1)
    for changed, cell in zip(images[1:], cells.tolist(), strict=True):
        row, column = divmod(cell, width)
        rows = slice(row * tall // height, (row + 1) * tall // height)
        columns = slice(column * wide // width, (column + 1) * wide // width)
        part = changed[:, rows, columns]
        changed[:, rows, columns] = low + (part - low + (high - low) / 2).remainder(high - low)
    with Explicit() as mode:
        model(images)
    scores = None if mode.scores is None else by_head(mode.scores, len(images))
    if scores is None or scores.ndim != 4 or len(scores) != len(images):
        return False
    moved = (scores[1:] - scores[:1]).nan_to_num().abs().sum(1)
    # What lies in each token's row and column, as share of all that moved.
    covered = moved.sum(1) + moved.sum(2) - moved.diagonal(dim1=1, dim2=2)
    share = covered / moved.sum((1, 2))[:, None]
    expected = (prefix + cells).to(moved.device)
    largest, token = share.max(1)
    return bool((token == expected).all() and (largest > MOSTLY).all())


def _read(logits: Tensor, last: Tensor) -> tuple[int, ...]:
    """The tokens whose row of the last attention the logits depend on."""
    # Each logit with another weight, so that the sum is not constant, as of a softmax.
    weights = torch.linspace(1, 2, logits.shape[1]).to(logits)
    (gradient,) = torch.autograd.grad((logits * weights).sum(), last, allow_unused=True)
    rows = None if gradient is None else gradient.abs().sum(-1).flatten(0, -2).sum(0)
    read = () if rows is None else rows.nonzero()[:, 0].tolist()
    if not read:
        raise ValueError(
            "no gradient of its logits reaches its last attention: are the weights of its last "
            "layer zero, as before training?"
        )
    return tuple(read)
