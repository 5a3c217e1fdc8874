"""Many file names in constant memory: an index of a million files lies in a file without a name."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

# Bytes that are kept in memory: names beyond them go to a file, where one can be read at any place
# by several processes at once.
MEMORY = 2**20 if hasattr(os, "pread") else sys.maxsize
PLACE = 8  # bytes of a number that says where a name ends


class FileNames:
    """A list of names: the bytes of one text, and where each ends.

    >>> names = FileNames(["a.png", "b/c.png"])
    >>> len(names), names[1], list(names)
    (2, 'b/c.png', ['a.png', 'b/c.png'])
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._text, self._ends = _Bytes(), _Bytes()
        self._ends.add(bytes(PLACE))
        self.extend(names)

    def extend(self, names: Iterable[str]) -> None:
        """Add names behind the others. Raises OSError where the disk is full."""
        for name in names:
            self._text.add(os.fsencode(name))
            self._ends.add(len(self._text).to_bytes(PLACE, "little"))

    def __len__(self) -> int:
        return len(self._ends) // PLACE - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"name {index} of {len(self)}")
        ends = self._ends.read(PLACE * index, PLACE * (index + 2))
        start, end = (int.from_bytes(each, "little") for each in (ends[:PLACE], ends[PLACE:]))
        return os.fsdecode(self._text.read(start, end))

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> tuple[type[FileNames], tuple[list[str]]]:
        return FileNames, (list(self),)


class _Bytes:
    """Bytes that only grow: the first in a file, once they are many, the last in memory."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._written, self._last = 0, bytearray()

    def add(self, data: bytes) -> None:
        self._last += data
        if len(self._last) > MEMORY:
            self._write()

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 lives as long as this
        left = memoryview(self._last)
        while left:
            left = left[self._file.write(left) :]
        self._written += len(self._last)
        self._last = bytearray()

    def __len__(self) -> int:
        return self._written + len(self._last)

    def read(self, start: int, end: int) -> bytes:
        if start >= self._written:
            return bytes(self._last[start - self._written : end - self._written])
        if end > self._written:
            self._write()
        assert self._file is not None
        return os.pread(self._file.fileno(), end - start, start)
