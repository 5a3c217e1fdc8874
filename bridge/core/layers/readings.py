"""How a layer's output can be read as a grid (n, c, h, w): channels first or last, or tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Layout = Literal["nchw", "nhwc", "ntc", "nct"]
Size = tuple[int, int]

PREFIX = 10  # the most tokens before the patches: a class token, distillation, registers
WORDS: dict[Layout, str] = {
    "nchw": "(n, c, h, w)",
    "nhwc": "(n, h, w, c)",
    "ntc": "tokens (n, t, c)",
    "nct": "tokens (n, c, t)",
}


@dataclass(frozen=True)
class Reading:
    """A layout, and the grid of `h` x `w` cells; `prefix` tokens before the patches are left out.

    >>> str(Reading("ntc", 1, 14, 14))
    'tokens (n, t, c), 1 before the patches left out'
    """

    layout: Layout
    prefix: int
    h: int
    w: int

    def grid(self, output: Tensor) -> Tensor:
        """The output of a layer as (n, c, h, w); the one of a convolution as it is."""
        if self.layout == "nchw":
            return output
        if self.layout == "nhwc":
            return output.permute(0, 3, 1, 2)
        tokens = output[:, self.prefix :].transpose(1, 2) if self.layout == "ntc" else output
        return tokens.reshape(len(output), -1, self.h, self.w)

    def __str__(self) -> str:
        left = f", {self.prefix} before the patches left out" if self.prefix else ""
        return WORDS[self.layout] + left


def readings(shape: Sequence[int], size: Size, known: Collection[Size] = ()) -> list[Reading]:
    """All readings of an output of this shape for images of this size, likeliest first.

    A grid has the image's aspect ratio to within one cell, or it is `known`: a convolution's.

    >>> [str(each) for each in readings((1, 197, 768), (224, 224))]
    ['tokens (n, t, c), 1 before the patches left out']
    """
    if len(shape) == 4:
        first = Reading("nchw", 0, shape[2], shape[3]), Reading("nhwc", 0, shape[1], shape[2])
        return [each for each in first if _possible((each.h, each.w), size, known)]
    if len(shape) != 3:
        return []
    found = [
        Reading("ntc", prefix, *grid)
        for prefix in range(min(PREFIX, shape[1] // 2) + 1)
        for grid in _grids(shape[1] - prefix, size, known)
    ]
    found.sort(key=lambda reading: (reading.h, reading.w) not in known)
    return found + [Reading("nct", 0, *grid) for grid in _grids(shape[2], size, known)]


def _grids(cells: int, size: Size, known: Collection[Size]) -> list[Size]:
    """The grids of so many cells."""
    grids = [(h, cells // h) for h in range(1, min(cells, size[0]) + 1) if cells % h == 0]
    return [grid for grid in grids if _possible(grid, size, known)]


def _possible(grid: Size, size: Size, known: Collection[Size]) -> bool:
    if grid[0] * grid[1] < 2 or grid[0] > size[0] or grid[1] > size[1]:
        return False
    off = abs(grid[0] - grid[1] * size[0] / size[1])
    return grid in known or off == 0 or (off <= 1 and size[0] != size[1])
