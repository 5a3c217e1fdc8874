"""Maps that look at no model: what a method has to beat before it says anything."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOB = 0.25  # the blob's standard deviation, as a share of the shorter side


def baseline_maps(x: Tensor, *, seed: int = 0) -> dict[str, Tensor]:
    """`random`, `edges`, `image` and `blob` maps (n, 1, h, w) of images x (n, c, h, w).

    Uniform noise; the Sobel filter's size of the mean over channels; that mean itself; a Gaussian
    in the middle. arXiv:2411.14946 finds that several methods do not beat them.

    >>> {name: tuple(map_.shape) for name, map_ in baseline_maps(torch.rand(2, 3, 8, 6)).items()}
    {'random': (2, 1, 8, 6), 'edges': (2, 1, 8, 6), 'image': (2, 1, 8, 6), 'blob': (2, 1, 8, 6)}
    """
    grey = x.mean(1, keepdim=True)
    own = torch.Generator().manual_seed(seed)
    noise = torch.rand(grey.shape, generator=own, dtype=torch.float64).to(x)
    return {"random": noise, "edges": edges(grey), "image": grey, "blob": blob(grey)}


def edges(grey: Tensor) -> Tensor:
    """sqrt(gx^2 + gy^2) by the Sobel filter of images (n, 1, h, w), edges repeated."""
    down = torch.tensor([1.0, 2.0, 1.0], dtype=grey.dtype, device=grey.device)
    across = torch.tensor([-1.0, 0.0, 1.0], dtype=grey.dtype, device=grey.device)
    kernel = torch.outer(down, across)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    gx, gy = (F.conv2d(padded, k[None, None]) for k in (kernel, kernel.T))
    return (gx.square() + gy.square()).sqrt()


def blob(grey: Tensor) -> Tensor:
    """A Gaussian in the middle of the image, the same for all."""
    h, w = grey.shape[2:]
    sigma = BLOB * min(h, w)
    rows, columns = (
        torch.exp(-((torch.arange(size).double() - (size - 1) / 2) ** 2) / (2 * sigma**2))
        for size in (h, w)
    )
    return torch.outer(rows, columns).to(grey).expand_as(grey).contiguous()
