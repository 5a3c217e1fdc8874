"""What a module of the user's counts or notes in plain attributes while it runs."""

from __future__ import annotations

import operator
from typing import Any

from torch import nn

SCALARS = (bool, int, float, complex, str, bytes, tuple, type(None))
LONGEST = 256  # a longer list is a table, and takes long to compare
# Torch's own, and what an adapter knows of its model.
OTHERS = frozenset([*nn.Module().__dict__, "_facts", "_habits", "_grids", "kept", "_parts"])
LISTS = (list, dict, set)


class Notes:
    """The plain attributes of one module: scalars, and what short lists and the like hold.

    What else it keeps (a tensor, an object) may be a cache, whose loss would only cost time, and is
    left alone.
    """

    def __init__(self, inside: dict[str, Any]) -> None:
        self.inside, self.before = inside, dict(inside)
        short = [
            inside[name]
            for name in inside
            if name not in OTHERS
            and isinstance(inside[name], LISTS)
            and len(inside[name]) <= LONGEST
        ]
        self.lists = [(value, list(value)) for value in short if isinstance(value, list)]
        self.dicts = [(value, dict(value)) for value in short if isinstance(value, dict)]
        self.sets = [(value, set(value)) for value in short if isinstance(value, set)]

    def same(self) -> bool:
        """Whether all of it is as it was."""
        try:
            return self._unchanged() and all(
                now == before for now, before in (*self.lists, *self.dicts, *self.sets)
            )
        except Exception:  # what cannot be compared may be another one
            return False

    def put_back(self) -> None:
        if not self._unchanged():
            self._put_back_attributes()
        self._put_back_contents()

    def _unchanged(self) -> bool:
        try:
            return self.inside == self.before
        except Exception:  # tensors and arrays cannot be compared like this
            return False

    def _put_back_attributes(self) -> None:
        for name, value in self.before.items():
            now = self.inside.get(name, value)
            scalars = isinstance(value, SCALARS) and isinstance(now, SCALARS)
            if name not in self.inside or (now is not value and scalars):
                self.inside[name] = value
        for name in [name for name in self.inside if name not in self.before]:
            if isinstance(self.inside[name], SCALARS):
                del self.inside[name]

    def _put_back_contents(self) -> None:
        for noted, before in self.lists:
            if len(noted) != len(before) or not all(map(operator.is_, noted, before)):
                noted[:] = before
        for items, known in self.dicts:
            if not holds(items, list(known.items())):
                items.clear()
                items.update(known)
        for members, first in self.sets:
            if members != first:
                members.clear()
                members.update(first)


def keeps_notes(module: nn.Module) -> bool:
    """Whether a module may: its class is not torch's."""
    return not type(module).__module__.startswith("torch.")


def holds(dictionary: dict[Any, Any], items: list[tuple[Any, Any]]) -> bool:
    """Whether a dictionary holds exactly these objects, in this order."""
    return len(dictionary) == len(items) and all(
        k is key and v is value
        for (k, v), (key, value) in zip(dictionary.items(), items, strict=True)
    )
