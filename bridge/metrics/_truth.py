"""Masks of where the truth lies."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.core.within import checked_mask


def checked_masks(masks: Any, x: Tensor) -> Tensor:
    """Masks (n, h, w) of True and False, on the images' device.

    Raises TypeError for what is no such tensor, ValueError for another shape or an empty mask: an
    image without a truth has no right answer.
    """
    masks = checked_mask(masks, x, "masks")
    empty = ~masks.flatten(1).any(1)
    if bool(empty.any()):
        raise ValueError(
            f"the masks of images {empty.nonzero()[:, 0].tolist()} are empty: leave them out"
        )
    return masks
