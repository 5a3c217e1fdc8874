"""Is an epsilon meant in these pixel units? Larger than the range of pixel values it is not."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from bridge.core.method import Method, sizes
from bridge.core.warn import warn

LEVELS = 255  # grey levels of an 8-bit image


def reach(norm: str | None, x: Tensor, bounds: tuple[float, float]) -> float:
    """The distance from the darkest image like those of `x` (n, c, h, w) to the lightest."""
    span = bounds[1] - bounds[0]
    return span * math.sqrt(x[0].numel()) if norm == "l2" else span


def check_budget(method: Method, epsilon: Any, x: Tensor, bounds: tuple[float, float]) -> None:
    """Raise ValueError for an epsilon that reaches every image there is: 8, where 8 / 255 is meant.

    `epsilon` is one size, several, or None, in the method's norm, for images `x` (n, c, h, w)
    within `bounds`. Warns of one below a tenth of a grey level where pixels reach from 0 to 255.
    """
    low, high = bounds
    span = high - low
    largest = reach(method.norm, x, bounds)
    for size in sizes(epsilon):
        if size is None or method.kind != "attack":
            continue
        size = float(size)
        if size > largest:
            what = (
                f"{largest:.4g}, the L2 distance from the darkest image to the lightest"
                if method.norm == "l2"
                else f"{largest:.4g}, the range of pixel values"
            )
            meant = f": {size:g} looks like {size:g}/{LEVELS}" if size <= LEVELS else ""
            raise ValueError(
                f"epsilon {size:g} of {method.name} is larger than {what}{meant}; sizes are in "
                f"the units of pixels, which lie in [{low:g}, {high:g}]"
            )
        if span > 2 and 0 < size < span / (10 * LEVELS):
            warn(
                f"epsilon {size:.4g} of {method.name} is less than a tenth of a grey level: sizes "
                f"are in the units of pixels, which lie in [{low:g}, {high:g}] ({size:.4g} of that "
                f"range is {size * span:.4g})"
            )
