"""What a map says of each pixel, and in which order it would take them away."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pixel_values(maps: Tensor, x: Tensor) -> Tensor:
    """sum_c map, signed, (n, h, w) float64 at the size of the images `x` (bilinear).

    Signed: a pixel that speaks against the class is not important for it. Whoever holds only
    absolute values meaningful passes maps.abs().
    """
    summed = maps.double().sum(1, keepdim=True)
    if summed.shape[2:] != x.shape[2:]:
        summed = F.interpolate(summed, x.shape[2:], mode="bilinear", align_corners=False)
    return summed[:, 0]


def positions(values: Tensor) -> Tensor:
    """At which place each pixel comes, (n, h, w): 0 for the largest value; ties in reading order.

    >>> positions(torch.tensor([[[1.0, 3.0], [3.0, 2.0]]])).tolist()
    [[[3, 0], [1, 2]]]
    """
    return _places(values.flatten(1).argsort(dim=1, descending=True, stable=True), values)


def random_ties(values: Tensor) -> Tensor:
    """`positions`, but pixels of one value come in random order.

    A map that is zero on nine tenths of the image says nothing about where among them to begin.
    """
    shuffled = torch.rand(values.flatten(1).shape, device=values.device).argsort(1)
    flat = values.flatten(1).gather(1, shuffled)
    order = shuffled.gather(1, flat.argsort(dim=1, descending=True, stable=True))
    return _places(order, values)


def _places(order: Tensor, values: Tensor) -> Tensor:
    """Of each pixel its place in an order (n, h * w), laid out as the values."""
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(values.shape)
