"""Sparseness: is the map's weight on few pixels?"""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._pixels import pixel_values
from bridge.metrics.registry import metric


@metric("sparseness", better="higher", paper="arXiv:1810.06583", passes=lambda *_, **__: 0)
def sparseness(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """The Gini index of |sum_c map|: 0 where all pixels are equal, 1 - 1/d where one has all, (n,).

    Chalasani et al. 2020, eq. 8: 1 - 2 sum_k (v_(k) / |v|_1) (d - k + 1/2) / d over ascending
    values v. NaN for a map that is all zero.
    """
    values = pixel_values(maps, x).abs().flatten(1).sort(1).values
    d = values.shape[1]
    weights = (d - torch.arange(1, d + 1).to(values) + 0.5) / d
    return 1 - 2 * (values * weights).sum(1) / values.sum(1)


@sparseness.variant("the values are not made positive")
def of_signed(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    values = pixel_values(maps, x).flatten(1).sort(1).values
    d = values.shape[1]
    weights = (d - torch.arange(1, d + 1).to(values) + 0.5) / d
    return 1 - 2 * (values * weights).sum(1) / values.sum(1)


@sparseness.variant("it is the Gini index of channel values, not of pixels")
def of_channels(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    return sparseness(model, x, target, maps.flatten(2).flatten(1)[:, None, None])


@sparseness.variant("it lacks the correction (d + 1) / d - 1 of the index")
def uncorrected(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    values = pixel_values(maps, x).abs().flatten(1)
    return sparseness(model, x, target, maps) - 1 / values.shape[1]
