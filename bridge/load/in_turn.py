"""Classes that take turns, by arithmetic: no list that grows with the images."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np


class InTurn:
    """The first image of every class, then the second of every class that has one, and so on.

    `counts` says how many images each class has.

    >>> order = InTurn([1, 3, 0, 2])
    >>> [order[index] for index in range(len(order))]
    [(0, 0), (1, 0), (3, 0), (1, 1), (3, 1), (1, 2)]
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = np.array(counts, dtype=np.int64)
        # Between the rounds in which a class runs out, as many take part in each.
        self._rounds = [0, *np.unique(self._counts[self._counts > 0]).tolist()]
        self._before = [int(np.minimum(self._counts, r).sum()) for r in self._rounds]

    def __len__(self) -> int:
        return self._before[-1]

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Which class the image at a place is of, and which of that class's images it is."""
        part = bisect_right(self._before, index) - 1
        classes = np.flatnonzero(self._counts > self._rounds[part])
        rounds, place = divmod(index - self._before[part], len(classes))
        return int(classes[place]), self._rounds[part] + rounds
