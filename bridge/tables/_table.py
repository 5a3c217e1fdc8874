"""A table is an object: what its columns mean, how they read, and how it is filled.

    attacks = table("attacks", heading="Attacks", columns=[...], order=20)

    @attacks.fill
    def rows(evidence): ...

One file here and one registration: a comparison then has the table as a DataFrame, and terminal,
Markdown, LaTeX, HTML, CSV and Parquet show it. `view` says what people see where that is not simply
every row; renderers know nothing else of a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

if TYPE_CHECKING:
    from bridge.tables._evidence import Evidence

Frames = Mapping[str, pd.DataFrame]

ROUNDING = 1e-6  # by so much a correlation in float32 may leave [-1, 1]


@dataclass(frozen=True)
class Column:
    """A column: its name in the data, and how it reads.

    `heading` stands above it (default: the name with spaces), `unit` beside that. `format` is
    Python's for its numbers, which are shown times `scale` (1000: seconds as milliseconds);
    `better` says which way is good; between the two values of `span` a page colours its cells.
    `text(value, row)` replaces `format` where the text needs the rest of the row.

    What a saved one may hold: numbers from `low` to `high` where these are given or it is a
    `number`; one of `choices` where there are any. A `key` has a value in every row.
    """

    name: str
    heading: str = ""
    unit: str = ""
    format: str = ""
    scale: float = 1
    better: Literal["", "higher", "lower"] = ""
    span: tuple[float, float] | None = None
    text: Callable[[Any, Any], str] | None = None
    number: bool = False
    low: float = -math.inf
    high: float = math.inf
    choices: Sequence[str] = ()
    key: bool = False

    @property
    def title(self) -> str:
        """The heading with its unit."""
        heading = self.heading or self.name.replace("_", " ")
        return f"{heading} ({self.unit})" if self.unit else heading

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers, which are aligned to the right and sorted as such."""
        return bool(self.format)

    def show(self, row: Mapping[str, Any]) -> str:
        """The text of this column in a row; "" where there is no value.

        >>> Column("seconds", unit="ms", format=".1f", scale=1000).show({"seconds": 0.0125})
        '12.5'
        """
        value = row[self.name]
        if self.text is not None:
            return self.text(value, row)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if not self.format or isinstance(value, str):
            return str(value)
        return format(value if self.scale == 1 else value * self.scale, self.format)

    def check(self, values: pd.Series) -> None:
        """Raise ValueError for values that this column never has.

        >>> Column("share", format=".0%", low=0, high=1).check(pd.Series([0.5, 3.0]))
        Traceback (most recent call last):
        ValueError: column 'share' holds 3.0, expected numbers from 0 to 1
        """
        missing = values.isna()
        if self.key and bool(missing.any()):
            raise ValueError(f"column {self.name!r} lacks a value in row {missing.argmax()}")
        there = values[~missing]
        if self.key and not (self.numeric or self.number):
            strange = there[[not isinstance(value, str) for value in there]]
            if len(strange):
                raise ValueError(f"column {self.name!r} holds {strange.iloc[0]!r}, expected text")
        if self.number or self.low > -math.inf or self.high < math.inf:
            text = len(there) or isinstance(there.dtype, pd.StringDtype)
            if there.dtype.kind not in "iuf" and text:
                some = repr(there.iloc[0]) if len(there) else "text"
                raise ValueError(f"column {self.name!r} holds {some}, expected numbers")
            wrong = there[(there < self.low) | (there > self.high)]
            what = f"numbers from {self.low:g} to {self.high:g}"
        elif self.choices:
            wrong, what = there[~there.isin(self.choices)], f"one of {', '.join(self.choices)}"
        else:
            return
        if len(wrong):
            raise ValueError(f"column {self.name!r} holds {wrong.iloc[0]}, expected {what}")


@dataclass(frozen=True)
class View:
    """What people see of a table: columns, their texts row by row, and remarks below.

    `marks[i][j]` is a word for a cell that stands out ("equal", "differs", ...), "" for most.
    `details[i][j]` says more of a cell, where a page shows that when one points at it.
    `values[i][j]` is what a numeric cell sorts by. Without columns the remarks are all there is.
    """

    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    remarks: Sequence[str] = ()
    marks: Sequence[Sequence[str]] = ()
    values: Sequence[Sequence[Any]] = ()
    details: Sequence[Sequence[str]] = ()


@dataclass(eq=False)
class Table:
    """One table by name; `heading` and `note` stand above it, tables follow one another by `order`.

    One that is not `shown` is data for others, and saved, but nothing for people. One that is
    `long` in the making is left out where somebody wants us to end.
    """

    name: str
    heading: str
    columns: Sequence[Column]
    note: str = ""
    order: int = 100
    shown: bool = True
    long: bool = False
    _fill: Callable[[Evidence], Iterable[Mapping[str, Any]]] | None = field(default=None)
    _view: Callable[[pd.DataFrame, Frames], View] | None = field(default=None)

    def fill(self, function: Callable[[Evidence], Iterable[Mapping[str, Any]]]) -> Any:
        """Register `rows(evidence)`: the table's rows, mappings with a value for each column."""
        self._fill = function
        return function

    def viewed(self, function: Callable[[pd.DataFrame, Frames], View]) -> Any:
        """Register `view(frame, frames)`: what people see, from this table and the others."""
        self._view = function
        return function

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return [column.name for column in self.columns]

    def __getitem__(self, name: str) -> Column:
        """The column of this name. Raises KeyError naming those that exist."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name!r}; it has: {', '.join(self.names)}")

    def rows(self, evidence: Evidence) -> list[dict[str, Any]]:
        """The rows as its file computes them."""
        return [dict(row) for row in self._fill(evidence)] if self._fill else []

    def frame(self, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
        """The rows as a DataFrame with exactly these columns."""
        found = [{name: _unicode(value) for name, value in row.items()} for row in rows]
        return pd.DataFrame(found, columns=self.names)

    def check(self, frame: pd.DataFrame) -> None:
        """Raise ValueError for a frame that this table never is, naming the column."""
        for column in self.columns:
            if column.name in frame:
                column.check(frame[column.name])
            elif column.key and len(frame):
                raise ValueError(f"column {column.name!r} is missing")

    def view(self, frame: pd.DataFrame, frames: Frames | None = None) -> View:
        """What people see of a frame that has rows; `frames` are all tables of the same run."""
        if self._view is not None:
            return self._view(frame, frames or {self.name: frame})
        return plain(self.columns, records(frame), self.note)


def _unicode(value: Any) -> Any:
    """Text that is no Unicode (a message with the bytes of a file's name) in escapes."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def plain(
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    note: str = "",
    remarks: Sequence[str] = (),
) -> View:
    """Every row, each column by its format."""
    shown = [c for c in columns if not rows or c.name in rows[0]]
    return View(
        shown,
        [[column.show(row) for column in shown] for row in rows],
        note,
        remarks,
        values=[[row[column.name] for column in shown] for row in rows],
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as mappings."""
    found: list[dict[str, Any]] = frame.to_dict("records")
    return found


_TABLES: dict[str, Table] = {}


def table(
    name: str,
    *,
    heading: str,
    columns: Sequence[Column],
    note: str = "",
    order: int = 100,
    shown: bool = True,
    long: bool = False,
) -> Table:
    """Register a table. Raises ValueError for a name that is taken by another one."""
    known = _TABLES.get(name)
    # The same columns again are a notebook cell run twice, or a reload.
    if known is not None and known.names != [column.name for column in columns]:
        raise ValueError(f"a table {name!r} is registered already")
    _TABLES[name] = Table(name, heading, columns, note, order, shown, long)
    return _TABLES[name]


def registered() -> dict[str, Table]:
    """The tables that were imported, by name, in their order. See `bridge.tables.tables`."""
    ordered = sorted(_TABLES.values(), key=lambda t: t.order)
    return {each.name: each for each in ordered}
