"""Many small tensors copied and compared as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

LONG = 2**15  # numbers of a long vector
SPARE = 2  # copies whose memory is kept


class Flat:
    """Tensors as one for each dtype and device: a few copies instead of a hundred.

    They are views, used again as long as each tensor stays where it is in memory.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self._views: Views | None = None
        # Memory for copies, used again: fresh memory takes as long as what is written into it.
        # Threads take turns here, but copies nest, so that each is taken from here and given back.
        self._spare: list[list[Tensor]] = []

    @torch.no_grad()
    def views(self) -> Views:
        """The tensors as vectors, where they are now."""
        places = [(t.data_ptr(), t.shape) for t in self.tensors]
        views = self._views
        if views is None or places != views.places:
            groups: dict[Any, list[int]] = {}
            for index, t in enumerate(self.tensors):
                groups.setdefault((t.dtype, t.device), []).append(index)
            vectors = [[self.tensors[i].detach().reshape(-1) for i in g] for g in groups.values()]
            # One that is not contiguous was copied, and is copied again the next time.
            whole = all(t.is_contiguous() for t in self.tensors)
            shapes = [t.shape for t in self.tensors]
            where = places if whole else []
            views = self._views = Views(where, shapes, list(groups.values()), vectors)
            self._spare.clear()
        return views

    def copy(self) -> Values:
        """A copy of their values."""
        views = self.views()
        return Values(views, views.together(self._spare.pop() if self._spare else None))

    def give_back(self, values: Values) -> None:
        """Let the memory of a copy that nobody needs any longer be used again."""
        if values.views is self._views and len(self._spare) < SPARE:
            self._spare.append(values.values)

    def unchanged(self, before: Values) -> bool:
        """Whether they still have these values."""
        now = self.copy()
        same = len(now.values) == len(before.values) and all(map(_same, now.values, before.values))
        self.give_back(now)
        return same

    @torch.no_grad()
    def put_back(self, before: Values) -> None:
        """Write the values into the tensors, wherever they are now."""
        for tensor, (_, value) in zip(self.tensors, before.each(), strict=True):
            tensor.copy_(value)


@dataclass(frozen=True)
class Views:
    """Vectors of tensors' memory, by dtype and device; which tensors those are, and where."""

    places: list[Any]
    shapes: list[torch.Size]
    groups: list[list[int]]
    vectors: list[list[Tensor]]

    @torch.no_grad()
    def together(self, spare: list[Tensor] | None = None) -> list[Tensor]:
        """One tensor a dtype and device, in spare memory where there is some."""
        if spare is None:
            return [torch.cat(vectors) for vectors in self.vectors]
        return [
            torch.cat(vectors, out=out) for vectors, out in zip(self.vectors, spare, strict=True)
        ]


@dataclass(frozen=True)
class Values:
    """What stood in tensors' memory."""

    views: Views
    values: list[Tensor]

    def each(self) -> list[tuple[Tensor, Tensor]]:
        """Of each tensor its memory at that time, and what stood there."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for group, vectors, values in zip(
            self.views.groups, self.views.vectors, self.values, strict=True
        ):
            parts = values.split([len(vector) for vector in vectors])
            found.update(zip(group, zip(vectors, parts, strict=True), strict=True))
        shapes = self.views.shapes
        return [(m.view(shapes[i]), v.view(shapes[i])) for i, (m, v) in sorted(found.items())]


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two vectors are the same; long ones on a CPU as bytes, three times as fast."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.device.type != "cpu" or b.device.type != "cpu" or len(a) < LONG:
        return torch.equal(a, b)
    word = torch.int64 if a.nbytes % 8 == 0 else torch.uint8
    return np.array_equal(a.view(word).numpy(), b.view(word).numpy())
