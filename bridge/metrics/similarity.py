"""Similarity: do two methods point at the same pixels of one image? Four measures on maps."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
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

    >>> ranks(torch.tensor([[[3.0, 1.0], [1.0, 2.0]]])).tolist()
    [[4.0, 1.5, 1.5, 3.0]]
    """
    pixels = map_.flatten(1).double().cpu().numpy()
    return torch.from_numpy(rankdata(pixels, axis=1))


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


def top_k_iou(a: Tensor, b: Tensor, share: float = TOP) -> Tensor:
    """|A and B| / |A or B| of the most important `share` of the pixels of maps (n, h, w), (n,)."""
    k = max(1, round(share * a[0].numel()))
    first, second = top_k(a, k), top_k(b, k)
    return (first & second).sum(1) / (first | second).sum(1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of maps (n, h, w) scaled to a maximum of 1, (n,).

    Gaussian window of sigma 1.5 cut at 3.5 sigma (11 pixels), K1 = 0.01, K2 = 0.03, mean over the
    map without its 5-pixel border (all of it where the map is smaller than that).
    """
    values = []
    for first, second in zip(a.double().cpu().numpy(), b.double().cpu().numpy(), strict=True):
        first, second = (m / m.max() if m.max() > 0 else m for m in (first, second))

        def smooth(m: np.ndarray) -> np.ndarray:
            return gaussian_filter(m, sigma=1.5, truncate=3.5)

        mean_a, mean_b = smooth(first), smooth(second)
        variance_a = smooth(first * first) - mean_a**2
        variance_b = smooth(second * second) - mean_b**2
        covariance = smooth(first * second) - mean_a * mean_b
        c1, c2 = 0.01**2, 0.03**2
        map_ = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
            (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
        )
        inner = map_[5:-5, 5:-5]
        values.append((inner if inner.size else map_).mean())
    return torch.tensor(values)
