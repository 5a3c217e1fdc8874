"""The energy-based pointing game: how much of the map lies on the truth?"""

from __future__ import annotations

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._pixels import pixel_values
from bridge.metrics._truth import checked_masks
from bridge.metrics.registry import metric


@metric(
    "energy_pointing_game",
    better="higher",
    paper="arXiv:1910.01279",
    needs=("masks",),
    passes=lambda *_, **__: 0,
)
def energy_pointing_game(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, *, masks: Tensor
) -> Tensor:
    """sum of the map's positive part on the mask / sum of its positive part, (n,).

    Wang et al. 2020 (Score-CAM), section 4.4. NaN where nothing is positive.
    """
    truth = checked_masks(masks, x)
    values = pixel_values(maps, x).clamp(min=0)
    return (values * truth).flatten(1).sum(1) / values.flatten(1).sum(1)


@energy_pointing_game.variant("the absolute values are the energy, not the positive part")
def by_size(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, *, masks: Tensor
) -> Tensor:
    values = pixel_values(maps, x).abs()
    return energy_pointing_game(model, x, target, values[:, None], masks=masks)


@energy_pointing_game.variant("the negative values are not left out")
def signed(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, *, masks: Tensor
) -> Tensor:
    values = pixel_values(maps, x)
    truth = checked_masks(masks, x)
    return (values * truth).flatten(1).sum(1) / values.flatten(1).sum(1)
