"""The effective share of pixels: over how much of the image the map's weight is spread."""

from __future__ import annotations

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._pixels import pixel_values
from bridge.metrics.registry import metric


@metric("effective_share", better="lower", passes=lambda *_, **__: 0)
def effective_share(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """(sum |v|)^2 / (d sum v^2) of the map's pixels v = sum_c map, (n,): from 1/d to 1.

    The participation ratio as a share: k equal pixels of d give k / d. NaN for a map that is all
    zero.
    """
    values = pixel_values(maps, x).abs().flatten(1)
    return values.sum(1).square() / (values.shape[1] * values.square().sum(1))
