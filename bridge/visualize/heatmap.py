"""Attributions as pictures: one value a pixel, scaled so that one bright pixel does not hide the rest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PERCENTILE = 98.0


def heatmap(attribution: Tensor, size: tuple[int, int]) -> Tensor:
    """Channels summed, sign kept, (n, h, w) at the image's size (bilinear)."""
    map_ = attribution.sum(1, keepdim=True)
    if tuple(map_.shape[2:]) != size:
        map_ = F.interpolate(map_, size, mode="bilinear", align_corners=False)
    return map_[:, 0]


def limit(maps: Tensor, percentile: float = PERCENTILE) -> float:
    """The percentile of |value| over all maps that share a scale; the maximum where that is 0, then 1."""
    values = maps.detach().double().abs().cpu().numpy()
    values = values[np.isfinite(values)]
    if not values.size:
        return 1.0
    return float(np.percentile(values, percentile)) or float(values.max()) or 1.0


def as_rgb(images: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(n, c, h, w) images as (n, h, w, 3) in [0, 1]; anything but 1 or 3 channels is shown by its mean."""
    low, high = bounds
    shown = ((images.detach().float().cpu() - low) / (high - low)).nan_to_num(0.0).clamp(0, 1)
    if shown.shape[1] not in (1, 3):
        shown = shown.mean(1, keepdim=True)
    return torch.broadcast_to(shown.permute(0, 2, 3, 1), (len(shown), *shown.shape[2:], 3))
