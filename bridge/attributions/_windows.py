"""The windows that slide over an image, for the methods that cover them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from bridge.attributions._baseline import requires_baseline

Pair = int | tuple[int, int]
Area = tuple[Any, ...]  # an index into images (n, c, h, w); rows and columns come last


def window_and_stride(
    x: Tensor, window: Pair | None, stride: Pair | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(h, w) of window and stride; by default about 200 windows.

    That is a window of an eighth of the shorter side, and half a window as stride.
    """
    covers = _pair(max(1, round(min(x.shape[2:]) / 8)) if window is None else window)
    moves = (max(1, covers[0] // 2), max(1, covers[1] // 2)) if stride is None else _pair(stride)
    return covers, moves


def _pair(value: Pair) -> tuple[int, int]:
    """An int means both axes."""
    h, w = value if isinstance(value, tuple | list) else (value, value)
    return int(h), int(w)


def requires_windows(
    x: Tensor, *, window: Pair | None, stride: Pair | None, baseline: float | Tensor
) -> None:
    """Raise ValueError where window or baseline do not fit, or the stride leaves pixels out."""
    height, width = x.shape[2:]
    covers, moves = window_and_stride(x, window, stride)
    if covers[0] > height or covers[1] > width:
        raise ValueError(f"the window {covers} is larger than the image {(height, width)}")
    if moves[0] > covers[0] or moves[1] > covers[1]:
        raise ValueError(
            f"the stride {moves} is larger than the window {covers}: pixels between would never be "
            "covered"
        )
    requires_baseline(x, baseline)


def starts(side: int, window: int, stride: int) -> range:
    """First pixels of the windows along one axis; the last window may be clipped.

    There are ceil((side - window) / stride) + 1 of them.
    """
    return range(0, (-(-(side - window) // stride) + 1) * stride, stride)


def corners(x: Tensor, window: Pair | None, stride: Pair | None) -> tuple[range, range]:
    """The windows' first rows and first columns."""
    (wh, ww), (sh, sw) = window_and_stride(x, window, stride)
    return starts(x.shape[2], wh, sh), starts(x.shape[3], ww, sw)


def areas(x: Tensor, window: Pair | None, stride: Pair | None) -> Iterator[Area]:
    """Each window as an index into the images, row after row; it spans all channels."""
    (height, width), _ = window_and_stride(x, window, stride)
    rows, columns = corners(x, window, stride)
    for top in rows:
        for left in columns:
            yield ..., slice(top, top + height), slice(left, left + width)


def half(side: int) -> int:
    """About half a side: a window and a stride with which a few windows cover an image."""
    return max(1, side // 2)
