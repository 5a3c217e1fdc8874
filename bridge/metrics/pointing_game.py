"""The pointing game: does the map's largest value lie on the truth?"""

from __future__ import annotations

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._pixels import pixel_values
from bridge.metrics._truth import checked_masks
from bridge.metrics.registry import metric


@metric(
    "pointing_game",
    better="higher",
    paper="arXiv:1608.00507",
    needs=("masks",),
    passes=lambda *_, **__: 0,
)
def pointing_game(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, *, masks: Tensor
) -> Tensor:
    """The share of the map's largest pixels that lie on the mask, (n,): 1 is a hit, 0 a miss.

    Zhang et al. 2016, without their 15 pixels of tolerance (dilate the masks for that). Where
    several pixels share the largest value the expected hit of one drawn among them: a constant map
    scores the mask's own area, which is chance.
    """
    truth = checked_masks(masks, x)
    values = pixel_values(maps, x).flatten(1)
    largest = values == values.amax(1, keepdim=True)
    return (largest & truth.flatten(1)).sum(1).double() / largest.sum(1)


@pointing_game.variant("a map that is the same everywhere is a hit")
def any_largest(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, *, masks: Tensor
) -> Tensor:
    return (pointing_game(model, x, target, maps, masks=masks) > 0).double()


@pointing_game.variant("the absolute values point")
def by_size(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, *, masks: Tensor
) -> Tensor:
    return pointing_game(model, x, target, maps.abs(), masks=masks)
