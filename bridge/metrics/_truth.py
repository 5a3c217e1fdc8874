"""Masks of where the truth lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def checked_masks(masks: Any, x: Tensor) -> Tensor:
    """Masks (n, h, w) of True and False, on the images' device.

    Raises TypeError for what is no such tensor, ValueError for another shape or an empty mask: an
    image without a truth has no right answer.
    """
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool:
        came = masks.dtype if isinstance(masks, Tensor) else type(masks).__name__
        raise TypeError(f"masks must be a torch.Tensor of True and False (n, h, w), got {came}")
    expected = (len(x), *x.shape[2:])
    if tuple(masks.shape) != expected:
        raise ValueError(f"masks have shape {tuple(masks.shape)}, expected {expected}")
    empty = ~masks.flatten(1).any(1)
    if bool(empty.any()):
        raise ValueError(
            f"the masks of images {empty.nonzero()[:, 0].tolist()} are empty: leave them out"
        )
    return masks.to(x.device)
