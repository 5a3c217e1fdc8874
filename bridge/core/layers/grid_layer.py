"""The layer that Grad-CAM explains, and how what it gives is a grid of channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bridge.core.layers.readings import Reading

Reshape = Callable[[Tensor], Tensor]  # a layer's output into (n, c, h, w)
Proof = Literal["stated", "operations", "cells", "unproven"]


@dataclass(frozen=True)
class GridLayer:
    """A layer by its dotted name, and its output's grid; `evidence` says in words what proves it.

    `proof`: "stated" in `wrap`; "operations" where every one between image and layer keeps places;
    "cells" where changed cells of the image are answered by the same cells of the grid; "unproven"
    where only a convolution's grid speaks for it. `shape` is one image's grid, (c, h, w).
    """

    name: str
    shape: tuple[int, ...]
    proof: Proof
    evidence: str
    reading: Reading | None = None
    reshape: Reshape | None = None

    @property
    def plain(self) -> bool:
        """Whether the layer's output is the grid."""
        return self.reshape is None and (self.reading is None or self.reading.layout == "nchw")

    def grid(self, output: Tensor) -> Tensor:
        """The layer's output, or a gradient of it, as (n, c, h, w)."""
        if self.reshape is not None:
            return self.reshape(output)
        return output if self.reading is None else self.reading.grid(output)

    def put_back(self, grid: Tensor, output: Tensor) -> Tensor:
        """The layer's output with these values (n, c, h, w) in the grid's places."""
        if self.plain:
            return grid
        numbers = torch.arange(output[0].numel(), device=output.device, dtype=torch.float64)
        places = self.grid(numbers.view(1, *output.shape[1:])).long().flatten()
        values = output.flatten(1).index_copy(1, places, grid.flatten(1))
        return values.view_as(output)

    def __str__(self) -> str:
        c, h, w = self.shape
        how = "as wrap's reshape gives it" if self.reshape else str(self.reading or "(n, c, h, w)")
        return f"{self.name}: {c} channels on {h} x {w} cells, {how}; {self.evidence}"


def check_reshape(reshape: Reshape, output: Tensor, name: str) -> tuple[int, ...]:
    """The grid of one image (c, h, w), as a user's `reshape` makes it of a layer's output.

    Raises ValueError where it gives none, or does more than to choose and order numbers, each of
    its own image: only then is the gradient of the grid the reshaped gradient.
    """
    count = output[0].numel()
    numbers = torch.arange(2 * count, dtype=torch.float64, device=output.device)
    pair = numbers.view(2, *output.shape[1:])
    try:
        grid = reshape(pair)
    except Exception as error:
        raise ValueError(
            f"reshape fails on the output of layer {name!r}, {tuple(pair.shape)}: {error}"
        ) from error
    shape = tuple(grid.shape) if isinstance(grid, Tensor) else type(grid).__name__
    if not isinstance(grid, Tensor) or grid.ndim != 4 or len(grid) != len(pair):
        raise ValueError(
            f"reshape gives {shape} of the output of layer {name!r}, {tuple(pair.shape)}: "
            "expected (n, c, h, w) with the same n"
        )
    places = grid.detach().double().flatten(1)
    first = torch.arange(len(pair), device=output.device)[:, None] * count
    own = bool(((places >= first) & (places < first + count) & (places == places.round())).all())
    if not own or len(places[0].unique()) != places.shape[1]:
        raise ValueError(
            f"reshape changes, mixes or repeats numbers of the output of layer {name!r}: it may "
            "only leave some out and order the others (slices, transpose, permute, reshape)"
        )
    return tuple(grid.shape[1:])
