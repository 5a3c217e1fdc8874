"""Rectangles of feature maps: what an occluded window changes; the rest is the clean image's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]
# A rectangle that covers this share of its map is not worth keeping apart: cutting and pasting cost
# more than they save.
WORTHWHILE = 0.7


@dataclass(frozen=True, eq=False)
class Patch:
    """A batch of maps that equal `clean` (h, w, c) but for a rectangle each.

    `values` (b, rows, columns, c) stand at (`top`, `left`), both (b,) and on the CPU. Channels come
    last, so that cutting and pasting copies whole runs of memory.
    """

    values: Tensor
    top: Tensor
    left: Tensor
    clean: Tensor

    @property
    def images(self) -> Tensor:
        """The values as a convolution takes them, (b, c, rows, columns), without a copy."""
        return self.values.permute(0, 3, 1, 2)

    def dense(self) -> Tensor:
        """The whole maps, (b, c, h, w)."""
        # A clone, not contiguous(): of a batch of one that would be the clean map itself.
        maps = self.clean.expand(len(self.values), *self.clean.shape).clone(
            memory_format=torch.contiguous_format
        )
        return _paste(maps, self.values, self.top, self.left).permute(0, 3, 1, 2)

    def over(self, top: Tensor, left: Tensor, rows: int, columns: int) -> Tensor:
        """The values on another rectangle that contains this one, (b, rows, columns, c)."""
        if (
            self.values.shape[1:3] == (rows, columns)
            and torch.equal(self.top, top)
            and torch.equal(self.left, left)
        ):
            return self.values
        return _paste(
            cut(self.clean, top, left, rows, columns), self.values, self.top - top, self.left - left
        )


def cut(map_: Tensor, top: Tensor, left: Tensor, rows: int, columns: int) -> Tensor:
    """Rectangles of one map (h, w, c), one for each (top, left): (b, rows, columns, c)."""
    down = (top[:, None] + torch.arange(rows)).to(map_.device)
    across = (left[:, None] + torch.arange(columns)).to(map_.device)
    return map_[down[:, :, None], across[:, None, :]]


def _paste(into: Tensor, values: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Write each rectangle of values into its map of `into`, in place."""
    count, rows, columns, _ = values.shape
    if count and bool((top == top[0]).all()) and bool((left == left[0]).all()):
        into[:, int(top[0]) : int(top[0]) + rows, int(left[0]) : int(left[0]) + columns] = values
        return into
    image = torch.arange(count, device=into.device)[:, None, None]
    down = (top[:, None] + torch.arange(rows)).to(into.device)[:, :, None]
    across = (left[:, None] + torch.arange(columns)).to(into.device)[:, None, :]
    into[image, down, across] = values
    return into


@dataclass(frozen=True)
class Sliding:
    """A convolution or a pooling: what it sees of its input, what lies outside, what it does."""

    kernel: Pair  # with the dilation in it
    stride: Pair
    padding: Pair
    outside: float  # 0, or -inf for a maximum
    compute: Callable[[Tensor], Tensor]  # (b, c, h, w) -> (b, c', h', w'), without padding

    def pad(self, clean: Tensor) -> Tensor:
        """The clean input (h, w, c) with its border.

        And a stride more at the far end, where windows may begin too late.
        """
        (py, px), (sy, sx) = self.padding, self.stride
        return F.pad(clean, (0, 0, px, px + sx, py, py + sy), value=self.outside)

    def changed(self, patch: Patch, padded: Tensor, clean: Tensor) -> Patch | None:
        """The rectangle of the output that the patch changes; None where it is most of it.

        `padded` is the clean input from `pad`, `clean` (h, w, c) the clean output.
        """
        top, height = self._reach(patch.top, patch.values.shape[1], clean.shape[0], 0)
        left, width = self._reach(patch.left, patch.values.shape[2], clean.shape[1], 1)
        if height * width >= WORTHWHILE * clean.shape[0] * clean.shape[1]:
            return None
        tile = self._tile(patch, padded, top, left, height, width)
        return Patch(self.compute(tile).permute(0, 2, 3, 1), top, left, clean)

    def _reach(self, first: Tensor, length: int, side: int, axis: int) -> tuple[Tensor, int]:
        """The first outputs (b,) along an axis that see inputs first .. first + length - 1.

        And how many there are at most. Output o sees inputs o * stride - padding and kernel - 1
        more.
        """
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        low = torch.div(first + padding - kernel + stride, stride, rounding_mode="floor").clamp(
            min=0
        )
        high = torch.div(first + length - 1 + padding, stride, rounding_mode="floor").clamp(
            max=side - 1
        )
        count = max(1, int((high - low).max()) + 1)
        return low.clamp(max=side - count), count

    def _tile(
        self, patch: Patch, padded: Tensor, top: Tensor, left: Tensor, height: int, width: int
    ) -> Tensor:
        """What those outputs see, (b, c, rows, columns): the clean input with the patch in it."""
        rows, columns = (
            (count - 1) * s + k
            for count, s, k in zip((height, width), self.stride, self.kernel, strict=True)
        )
        start_y, start_x = top * self.stride[0], left * self.stride[1]  # in the padded map
        tile = cut(padded, start_y, start_x, rows, columns)
        dy, dx = patch.top + self.padding[0] - start_y, patch.left + self.padding[1] - start_x
        # With a stride the rectangle may stick out of what is seen: paste it into a larger tile and
        # cut that down.
        above, before = max(0, -int(dy.min())), max(0, -int(dx.min()))
        below = max(0, int(dy.max()) + patch.values.shape[1] - rows)
        behind = max(0, int(dx.max()) + patch.values.shape[2] - columns)
        if above or before or below or behind:
            tile = F.pad(tile, (0, 0, before, behind, above, below))
            _paste(tile, patch.values, dy + above, dx + before)
            tile = tile[:, above : above + rows, before : before + columns]
        else:
            _paste(tile, patch.values, dy, dx)
        return tile.permute(0, 3, 1, 2)


def together(patches: list[Patch]) -> tuple[list[Tensor], Tensor, Tensor]:
    """The values of several patches of maps of one size on the smallest rectangle around them all.

    Returns the values of each, and top and left of that rectangle.
    """
    top = torch.stack([p.top for p in patches]).amin(0)
    left = torch.stack([p.left for p in patches]).amin(0)
    rows = max(int((p.top + p.values.shape[1] - top).max()) for p in patches)
    columns = max(int((p.left + p.values.shape[2] - left).max()) for p in patches)
    height, width = patches[0].clean.shape[:2]
    top, left = top.clamp(max=height - rows), left.clamp(max=width - columns)
    return [p.over(top, left, rows, columns) for p in patches], top, left
