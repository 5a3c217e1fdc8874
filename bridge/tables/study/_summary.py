"""A table of a study's summary: an object as the tables of a comparison are, filled from frames.

    gini = summary_table("gini", heading="Sparseness", columns=[...], order=50)

    @gini.computed
    def rows(results): ...

One file here and one registration: terminal, Markdown, LaTeX, HTML, CSV and Parquet show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from bridge.tables._table import Column, Table

IMAGES = ("id", "index", "label", "predicted", "confidence", "right", "source")
ATTRIBUTIONS = ("id", "method", "target", "total", "largest", "gini")
PAIRS = ("id", "a", "b", "spearman")
METRICS = ("id", "method", "control", "metric", "value")
ATTACKS = (
    *("id", "method", "norm", "epsilon", "predicted", "confidence", "fooled"),
    *("linf", "l2", "forwards", "backwards"),
)
FAILURES = ("id", "method", "stage", "error", "message")
# Of an attribution all numbers are described, but only these mean the same for every method.
SCALED = ("total", "largest")


@dataclass(frozen=True)
class Results:
    """What a study measured, a row an image (and method, epsilon, pair): the tables' input.

    `class_names` are what the model calls its classes, None where it calls them by number.
    `second` is the model that adversarial images were transferred to.
    """

    images: pd.DataFrame
    attributions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ATTRIBUTIONS))
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PAIRS))
    attacks: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ATTACKS))
    failures: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=FAILURES))
    class_names: Sequence[str] | None = None
    second: str = ""
    seed: int = 0
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=METRICS))

    def __post_init__(self) -> None:
        for name, needed in _NEEDED.items():
            frame = getattr(self, name)
            if lacking := [column for column in needed if column not in frame]:
                raise ValueError(f"{name} lacks the column {lacking[0]!r}; it has {list(frame)}")
        if self.images["id"].duplicated().any():
            twice = self.images.loc[self.images["id"].duplicated(), "id"].iloc[0]
            raise ValueError(f"images has two rows of id {twice!r}, expected one an image")

    @cached_property
    def labels(self) -> pd.Series:
        """The label of each image, by id."""
        return self.images.set_index("id")["label"]

    def counted(self) -> Results:
        """The same with the images' ids as numbers, by which fifty thousand are grouped faster.

        Rows of the other tables whose image is not among `images` are left out.
        """
        known = pd.Index(self.images["id"])
        frames = {}
        for name in ("images", "attributions", "pairs", "metrics", "attacks"):
            frame = getattr(self, name)
            codes = known.get_indexer(frame["id"])
            found = frame.assign(id=codes)
            frames[name] = found if name == "images" or (codes >= 0).all() else found[codes >= 0]
        return replace(self, **frames)

    @property
    def quantities(self) -> list[str]:
        """What is known of each attribution in numbers: its columns besides id, method, target."""
        known = self.attributions.drop(columns=["id", "method", "target"])
        return [str(name) for name in known if known[name].dtype.kind in "iuf"]

    def class_name(self, label: int) -> str:
        """What the model calls a class: its name, or its number."""
        names = self.class_names
        return str(names[label]) if names and 0 <= label < len(names) else str(label)

    def wide(self, quantity: str) -> pd.DataFrame:
        """Images x methods of a number of the attributions."""
        frame = self.attributions
        found = frame.groupby(["id", "method"], sort=False)[quantity].first().unstack("method")
        return found[list(frame["method"].unique())] if len(frame) else found


_NEEDED = {
    "images": IMAGES,
    "attributions": ATTRIBUTIONS,
    "pairs": PAIRS,
    "metrics": METRICS,
    "attacks": ATTACKS,
    "failures": FAILURES,
}


@dataclass(eq=False)
class SummaryTable(Table):
    """One table of a summary, see `bridge.tables.Table`; filled from a study's results."""

    _from: Callable[[Results], Iterable[Mapping[str, Any]]] | None = field(default=None)

    def computed(self, function: Callable[[Results], Iterable[Mapping[str, Any]]]) -> Any:
        """Register `rows(results)`: the table's rows, mappings with a value for each column."""
        self._from = function
        return function

    def of(self, results: Results) -> pd.DataFrame:
        """The table of these results."""
        return self.frame(self._from(results) if self._from else ())


_TABLES: dict[str, SummaryTable] = {}


def summary_table(
    name: str, *, heading: str, columns: Sequence[Column], note: str = "", order: int = 100
) -> SummaryTable:
    """Register a table of the summary. Raises ValueError for a name that is taken."""
    known = _TABLES.get(name)
    if known is not None and known.names != [column.name for column in columns]:
        raise ValueError(f"a table {name!r} of the summary is registered already")
    _TABLES[name] = SummaryTable(name, heading, columns, note, order)
    return _TABLES[name]


def registered() -> dict[str, SummaryTable]:
    """The tables that were imported, by name, in their order."""
    ordered = sorted(_TABLES.values(), key=lambda t: t.order)
    return {each.name: each for each in ordered}


# Columns that several tables have.
METHOD = Column("method", key=True)
IMAGES_COLUMN = Column("images", format=".0f", low=0, key=True)


def interval(name: str, heading: str, format: str, **options: Any) -> tuple[Column, Column, Column]:
    """A column whose text is its value with its 95 % interval, and the two ends as data."""

    def text(value: Any, row: Mapping[str, Any]) -> str:
        shown = Column(name, format=format)
        ends = [shown.show({name: row[f"{name}_{end}"]}) for end in ("low", "high")]
        middle = shown.show({name: value})
        return f"{middle} [{ends[0]}, {ends[1]}]" if all(ends) else middle

    return (
        Column(name, heading, format=format, text=text, **options),
        Column(f"{name}_low", format=format),
        Column(f"{name}_high", format=format),
    )


def without_ends(columns: Sequence[Column]) -> list[Column]:
    """The columns that people see: the ends of an interval stand with their value."""
    names = {column.name for column in columns}
    return [
        c
        for c in columns
        if not (c.name.endswith(("_low", "_high")) and c.name.rpartition("_")[0] in names)
    ]


def p_text(value: Any, row: Mapping[str, Any]) -> str:
    """A p value as people write it.

    >>> p_text(0.0312, {}), p_text(1e-9, {}), p_text(float("nan"), {})
    ('0.031', '< 0.001', '')
    """
    if value is None or value != value:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


P = Column("p_holm", "p (Holm)", format=".3f", text=p_text, low=0, high=1)
