"""The summary of a study: one file a table, found here by name; `Summary` holds them all.

Files that begin with an underscore are what tables are made of.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bridge.tables import Frames, Table, View, block
from bridge.tables.study._measured import Measured, card_of, lines_of, proof_of, results_of
from bridge.tables.study._summary import Results, SummaryTable, registered, summary_table

__all__ = [
    "Measured",
    "Results",
    "Summary",
    "SummaryTable",
    "card_of",
    "results_of",
    "summarise",
    "summary",
    "summary_table",
    "summary_tables",
]

_loaded = False


def summary_tables() -> dict[str, SummaryTable]:
    """All tables of a summary by name, in the order in which they are shown.

    >>> list(summary_tables())[:2]
    ['accuracy', 'worst_case']
    """
    global _loaded
    if not _loaded:
        _loaded = True
        for module in pkgutil.iter_modules(__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{__name__}.{module.name}")
    return registered()


@dataclass(frozen=True)
class Summary:
    """The tables of a study by name, each a DataFrame; as text what a terminal shows.

    `summary.accuracy` is `summary.tables["accuracy"]`. `first_lines` are what must be known before
    any number.
    """

    tables: Mapping[str, pd.DataFrame]
    first_lines: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> pd.DataFrame:
        found = self.__dict__.get("tables", {}).get(name)
        if found is None:
            known = ", ".join(self.__dict__.get("tables", {}))
            raise AttributeError(f"a summary has no table {name!r}; it has: {known}")
        return found

    def views(self) -> list[tuple[Table, View]]:
        """What people see of the tables, in order: those that have rows and are shown."""
        frames: Frames = self.tables
        return [
            (table, table.view(frames[name], frames))
            for name, table in summary_tables().items()
            if table.shown and len(frames.get(name, ()))
        ]

    def __str__(self) -> str:
        """All tables for a terminal."""
        blocks = [block(table, view) for table, view in self.views()]
        return "\n\n".join(["\n".join(self.first_lines), *blocks]).strip("\n")


def summary(study: Measured) -> Summary:
    """The statistics of a study over its dataset, as tables. Print it, or take `.tables`."""
    found = summarise(results_of(study))
    lines = (*lines_of(study), *found.first_lines, *proof_of(study))
    return replace(found, first_lines=lines)


def summarise(results: Results) -> Summary:
    """The summary of what a study measured.

    Raises ValueError where a frame lacks a column.
    """
    counted = results.counted()
    frames: dict[str, Any] = {name: each.of(counted) for name, each in summary_tables().items()}
    return Summary(frames, tuple(_counted(results)))


def _counted(results: Results) -> list[str]:
    """How many images, how many right, what failed."""
    images = results.images
    right = int(images["right"].astype(bool).sum())
    text = f"{len(images):,} images, of which the model gets {right:,} right"
    text += f" ({right / len(images):.1%})." if len(images) else "."
    failed = len(results.failures)
    return [text] + [f"{failed:,} rows failed, see below."] * bool(failed)
