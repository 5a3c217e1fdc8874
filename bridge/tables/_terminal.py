"""Tables as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bridge.tables._table import Table, View

WIDTH = 100  # of the sentences; a table is as wide as its columns


def block(table: Table, view: View) -> str:
    """A heading, the note, the columns (the first to the left, the others to the right), remarks.

    >>> from bridge.tables._table import Column, plain
    >>> ages = Table("ages", "Ages", [Column("name"), Column("age", format=".1f", unit="years")])
    >>> print(block(ages, plain(ages.columns, [{"name": "Ada", "age": 36}])))
    AGES
      name  age (years)
      -----------------
      Ada          36.0
    """
    lines = [table.heading.upper()]
    for sentence in view.note.splitlines():
        lines += textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if view.columns:
        header = [column.title for column in view.columns]
        widths = [max(len(row[i]) for row in [header, *view.rows]) for i in range(len(header))]
        head = _line(header, widths)
        lines += [head, "  " + "-" * (len(head) - 2)]
        lines += [_line(row, widths) for row in view.rows]
    mark = "  ! " if view.columns else "  "
    return "\n".join([*lines, *(mark + remark for remark in view.remarks)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    aligned[0] = "  " + cells[0].ljust(widths[0])
    return "  ".join(aligned).rstrip()
