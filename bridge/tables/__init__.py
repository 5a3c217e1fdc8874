"""The tables of a comparison: one file each, found here by name.

Files that begin with an underscore are what tables are made of. The other way in is the entry point
`bridge.tables`: a module that registers its table with `bridge.tables.table`.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from importlib.metadata import entry_points

import pandas as pd

from bridge.core.epsilon import epsilon_text, stated
from bridge.tables._epsilon import EPSILON
from bridge.tables._evidence import Cell, Evidence, Judged, Key, failure
from bridge.tables._table import (
    ROUNDING,
    Column,
    Frames,
    Table,
    View,
    plain,
    records,
    registered,
    table,
)
from bridge.tables._terminal import block

__all__ = [
    "EPSILON",
    "ROUNDING",
    "Cell",
    "Column",
    "Evidence",
    "Frames",
    "Judged",
    "Key",
    "Table",
    "View",
    "block",
    "epsilon_text",
    "failure",
    "plain",
    "records",
    "stated",
    "table",
    "tables",
    "unknown",
    "views",
]

_loaded = False


def tables() -> dict[str, Table]:
    """All tables by name, in the order in which they are shown.

    >>> list(tables())[:3]
    ['agreement', 'precision', 'attacks']
    """
    global _loaded
    if not _loaded:
        _loaded = True
        for module in pkgutil.iter_modules(__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{__name__}.{module.name}")
        for plugin in entry_points(group="bridge.tables"):
            try:
                plugin.load()
            except Exception as error:  # a broken plug-in must not take our own tables with it
                warnings.warn(
                    f"the plug-in {plugin.name} ({plugin.value}) cannot be loaded: {error!r}",
                    stacklevel=2,
                )
    return registered()


def unknown(name: str, frame: pd.DataFrame) -> Table:
    """A table for a frame that none is registered for: every column as it is, numbers short."""
    columns = [
        Column(str(c), heading=str(c), format=".4g" if frame[c].dtype.kind == "f" else "")
        for c in frame.columns
    ]
    return Table(name, name, columns)


def views(frames: Frames) -> list[tuple[Table, View]]:
    """What people see of a run's tables, in order: those that have rows and are shown."""
    known = tables()
    found = [known.get(name) or unknown(name, frame) for name, frame in frames.items()]
    return [
        (each, each.view(frames[each.name], frames))
        for each in sorted(found, key=lambda t: t.order)
        if each.shown and len(frames[each.name])
    ]
