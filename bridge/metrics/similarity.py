"""Similarity: do two methods point at the same pixels of one image? Measures on maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

TOP = 0.1  # the share of pixels that top-k IoU compares


def importance(attribution: Tensor, size: tuple[int, int]) -> Tensor:
    """sum_c |attribution|, (n, h, w) at the image's `size` (bilinear).

    `attribution` is (n, c, h', w'): what a heatmap shows, whatever the sign.
    """
    map_ = attribution.abs().sum(1, keepdim=True)
    if tuple(map_.shape[2:]) != size:
        map_ = F.interpolate(map_, size, mode="bilinear", align_corners=False)
    return map_[:, 0]


def ranks(map_: Tensor) -> Tensor:
    """Ranks of each image's pixels, ties averaged, (n, h * w), of maps (n, h, w).

    NaN where one of the map's pixels is. By pandas: scipy.stats takes half a second to import.

    >>> ranks(torch.tensor([[[3.0, 1.0], [1.0, 2.0]]])).tolist()
    [[4.0, 1.5, 1.5, 3.0]]
    """
    pixels = map_.flatten(1).double().cpu().numpy()
    found = pd.DataFrame(pixels.T).rank().to_numpy().T
    return torch.from_numpy(np.where(np.isnan(pixels).any(1, keepdims=True), np.nan, found))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> / (|a| |b|) of each image's maps (n, ...), (n,); nan where one is all zero."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def spearman(ranks_a: Tensor, ranks_b: Tensor) -> Tensor:
    """Rank correlation of each image, (n,), from `ranks`; nan where one map is constant.

    >>> a, b = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1.0, 4.0, 9.0]]])
    >>> round(float(spearman(ranks(a), ranks(b))), 6)
    1.0
    """
    return cosine(ranks_a - ranks_a.mean(1, keepdim=True), ranks_b - ranks_b.mean(1, keepdim=True))


def top_k(map_: Tensor, k: int) -> Tensor:
    """Which pixels of each map (n, h, w) are among its k largest, (n, h * w) bool."""
    flat = map_.flatten(1)
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, flat.topk(k, dim=1).indices, True)


def top_share(map_: Tensor, share: float = TOP) -> Tensor:
    """Which pixels of each map (n, h, w) are the most important `share` of it, (n, h, w) bool."""
    return top_k(map_, max(1, round(share * map_[0].numel()))).view(map_.shape)


def top_k_iou(a: Tensor, b: Tensor, share: float = TOP) -> Tensor:
    """|A and B| / |A or B| of the most important `share` of the pixels of maps (n, h, w), (n,)."""
    return overlap(top_share(a, share), top_share(b, share))


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """|A and B| / |A or B| of pixels (n, h, w) bool, (n,)."""
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2))


def top_k_near(a: Tensor, b: Tensor, share: float = TOP, reach: int = 1) -> Tensor:
    """The share of the top pixels of either map with one of the other's no further away, (n,).

    `top_k_iou` forgiving shifts of up to `reach` pixels (arXiv:2312.10534, the mean of its
    precision and recall); maps are (n, h, w), top the most important `share` of the pixels.

    >>> a = torch.zeros(1, 5, 5).index_fill_(2, torch.tensor([1]), 1.0)
    >>> float(top_k_iou(a, a.roll(1, 2), 0.2)), float(top_k_near(a, a.roll(1, 2), 0.2))
    (0.0, 1.0)
    """
    return overlap_near(top_share(a, share), top_share(b, share), reach)


def overlap_near(a: Tensor, b: Tensor, reach: int = 1) -> Tensor:
    """The mean share of pixels (n, h, w) bool of either that are near one of the other's, (n,)."""
    near_a, near_b = (
        F.max_pool2d(each[:, None].float(), 2 * reach + 1, 1, reach)[:, 0] > 0 for each in (a, b)
    )
    shares = (
        (one & near).sum((1, 2)) / one.sum((1, 2)) for one, near in ((a, near_b), (b, near_a))
    )
    return torch.stack([*shares]).mean(0)


def centre(map_: Tensor) -> Tensor:
    """The centre of mass (row, column) of maps (n, h, w) in pixels, (n, 2)."""
    rows, columns = (torch.arange(side).to(map_) for side in map_.shape[1:])
    total = map_.sum((1, 2)).clamp(min=torch.finfo(map_.dtype).tiny)
    return torch.stack(
        [(map_.sum(2) * rows).sum(1) / total, (map_.sum(1) * columns).sum(1) / total], 1
    )


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of maps (n, h, w) scaled to a maximum of 1, (n,).

    Gaussian window of sigma 1.5 cut at 3.5 sigma (11 pixels), K1 = 0.01, K2 = 0.03, mean over the
    map without its 5-pixel border (all of it where the map is smaller than that).
    """
    first, second = (_to_one(each.double().cpu().numpy()) for each in (a, b))
    mean_a, mean_b = _smooth(first), _smooth(second)
    variance_a = _smooth(first * first) - mean_a**2
    variance_b = _smooth(second * second) - mean_b**2
    covariance = _smooth(first * second) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    map_ = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    inner = map_[:, 5:-5, 5:-5]
    each = inner if inner[0].size else map_
    return torch.from_numpy(np.array([image.mean() for image in each]))


def _to_one(maps: np.ndarray) -> np.ndarray:
    """Maps (n, h, w) with a maximum of 1 each, where it is above 0."""
    largest = maps.max((1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _smooth(maps: np.ndarray) -> np.ndarray:
    return gaussian_filter(maps, sigma=(0, 1.5, 1.5), truncate=3.5)
