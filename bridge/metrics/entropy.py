"""Entropy: how many pixels the map's weight is spread over, on a logarithmic scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._pixels import pixel_values
from bridge.metrics.registry import metric


@metric("entropy", better="lower", paper="arXiv:2005.00631", passes=lambda *_, **__: 0)
def entropy(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """-sum_i p_i ln p_i with p_i = |v_i| / |v|_1 of the map's pixels v = sum_c map, (n,), in nats.

    Bhatt et al. 2020, definition 5 (complexity). 0 where one pixel has all, ln d where all are
    equal. NaN for a map that is all zero.
    """
    values = pixel_values(maps, x).abs().flatten(1)
    p = values / values.sum(1, keepdim=True)
    return -torch.special.xlogy(p, p).sum(1)


@entropy.variant("the logarithm is to the base 2")
def in_bits(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    return entropy(model, x, target, maps) / math.log(2)


@entropy.variant("it is divided by its largest value, ln d")
def relative(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    return entropy(model, x, target, maps) / math.log(x.shape[2] * x.shape[3])


@entropy.variant("the channels are not summed first")
def of_channels(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    values = maps.double().abs().flatten(1)
    p = values / values.sum(1, keepdim=True)
    return -torch.special.xlogy(p, p).sum(1)
