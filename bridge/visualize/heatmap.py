"""Attributions as pictures: one value a pixel, one bright pixel does not hide the rest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PERCENTILE = 98.0


def heatmap(attribution: Tensor, size: tuple[int, int]) -> Tensor:
    """Channels summed, sign kept: (n, c, h', w') as (n, h, w) of the image's `size` (bilinear).

    >>> heatmap(torch.ones(1, 3, 4, 4), (8, 6)).shape
    torch.Size([1, 8, 6])
    """
    map_ = attribution.sum(1, keepdim=True)
    if tuple(map_.shape[2:]) != size:
        map_ = F.interpolate(map_, size, mode="bilinear", align_corners=False)
    return map_[:, 0]


def limit(maps: Tensor, percentile: float = PERCENTILE) -> float:
    """The percentile of |value| over all maps that share a scale: where their colour is full.

    `maps` of any shape; what is not finite does not count. Where the percentile is 0 the maximum,
    and where that is 0 too, 1.

    >>> limit(torch.tensor([0.0, -2.0, 1.0]), percentile=100)
    2.0
    """
    values = maps.detach().double().abs().cpu().numpy()
    values = values[np.isfinite(values)]
    if not values.size:
        return 1.0
    return float(np.percentile(values, percentile)) or float(values.max()) or 1.0


def as_rgb(images: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Images (n, c, h, w) within `bounds` as (n, h, w, 3) in [0, 1], on the CPU.

    Anything but 1 or 3 channels is shown by their mean.
    """
    low, high = bounds
    shown = ((images.detach().float().cpu() - low) / (high - low)).nan_to_num(0.0).clamp(0, 1)
    if shown.shape[1] not in (1, 3):
        shown = shown.mean(1, keepdim=True)
    return torch.broadcast_to(shown.permute(0, 2, 3, 1), (len(shown), *shown.shape[2:], 3))


def coloured(map_: Tensor, largest: float) -> Tensor:
    """Blue negative, white zero, red positive, full colour at +-`largest`.

    A map (..., h, w) as (..., h, w, 3) in [0, 1], on the CPU.

    >>> coloured(torch.tensor([[-1.0, 0.0, 0.5]]), largest=1.0).tolist()
    [[[0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.5, 0.5]]]
    """
    scaled = (map_.detach().float().cpu() / largest).clamp(-1, 1).nan_to_num(0.0)
    return torch.stack([1 + scaled.clamp(max=0), 1 - scaled.abs(), 1 - scaled.clamp(min=0)], -1)
