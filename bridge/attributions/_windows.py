"""The windows that slide over an image, for the methods that cover them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
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


def seen_windows(images: Sequence[Tensor], x: Tensor) -> dict[str, list[Any]]:
    """{parameter: [value]} of the windows that these images cover: "window", "stride", "baseline".

    Empty where they are not rectangles covered with one value.
    """
    boxes, covers = [], []
    for image in images:
        changed = (image != x).any(1).any(0) if image.shape == x.shape else None
        if changed is None or not bool(changed.any()):
            continue
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        top, left = int(rows[0]), int(columns[0])
        boxes.append((top, left, int(rows[-1]) - top + 1, int(columns[-1]) - left + 1))
        values = image[(image != x)].unique()
        covers.append(float(values[0]) if len(values) == 1 else None)
    if not boxes:
        return {}
    tops, lefts = sorted({b[0] for b in boxes}), sorted({b[1] for b in boxes})
    window = max(b[2] for b in boxes), max(b[3] for b in boxes)
    stride = _least(tops, window[0]), _least(lefts, window[1])
    found: dict[str, list[Any]] = {"window": [_one(window)], "stride": [_one(stride)]}
    if covers[0] is not None and len(set(covers)) == 1:
        found["baseline"] = [covers[0]]
    return found


def _least(starts: Sequence[int], otherwise: int) -> int:
    """The smallest way from one start to the next."""
    ways = [b - a for a, b in pairwise(starts)]
    return min(ways, default=otherwise)


def _one(pair: tuple[int, int]) -> Pair:
    return pair[0] if pair[0] == pair[1] else pair


def half(side: int) -> int:
    """About half a side: a window and a stride with which a few windows cover an image."""
    return max(1, side // 2)
