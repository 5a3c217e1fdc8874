"""Many file names in little memory: an index of a million files is some tens of megabytes."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator


class FileNames:
    """A list of names, held as the bytes of one text and where each ends.

    >>> names = FileNames(["a.png", "b/c.png"])
    >>> len(names), names[1], list(names)
    (2, 'b/c.png', ['a.png', 'b/c.png'])
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), array("Q", [0])
        self.extend(names)

    def extend(self, names: Iterable[str]) -> None:
        """Add names behind the others."""
        for name in names:
            self._bytes += os.fsencode(name)
            self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(bytes(self._bytes[self._ends[index] : self._ends[index + 1]]))

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))
