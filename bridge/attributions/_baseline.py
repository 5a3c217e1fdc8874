"""The baseline that paths start from and windows are covered with: a number or a tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def baseline_images(x: Tensor, baseline: float | Tensor) -> Tensor:
    """The baseline as images, same shape as x; nothing is copied."""
    return torch.broadcast_to(torch.as_tensor(baseline, dtype=x.dtype, device=x.device), x.shape)


def requires_baseline(x: Tensor, baseline: float | Tensor) -> None:
    """Raise ValueError for a tensor that does not broadcast to the images."""
    if not isinstance(baseline, Tensor):
        return
    try:
        fits = torch.broadcast_shapes(baseline.shape, x.shape) == x.shape
    except RuntimeError:
        fits = False
    if not fits:
        shapes = f"shape {tuple(baseline.shape)}, expected one that broadcasts to {tuple(x.shape)}"
        raise ValueError(f"baseline has {shapes}")
