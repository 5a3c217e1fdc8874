"""What failed, grouped: how often, and the first message of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.tables import Column, Frames, View
from bridge.tables.study._summary import Results, summary_table

failures = summary_table(
    "failures",
    heading="What failed",
    columns=[
        Column("method", key=True),
        Column("stage", key=True),
        Column("error", key=True),
        Column("rows", format=".0f", low=1, key=True),
        Column("first", key=True),
        Column("message", key=True),
    ],
    order=1000,
)


@failures.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a method, stage and kind of error, with the first image and its message."""
    found = results.failures.fillna({"method": "", "stage": "", "error": "", "message": ""})
    for (method, stage, error), group in found.groupby(["method", "stage", "error"], sort=False):
        first = group.iloc[0]
        yield {
            "method": method,
            "stage": stage,
            "error": error,
            "rows": len(group),
            "first": str(first["id"]),
            "message": str(first["message"]),
        }


@failures.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """A line each."""
    return View(
        remarks=[
            f"{' '.join(filter(None, [row.method, f'({row.stage})']))}: {row.rows} times "
            f"{row.error}, first at {row.first}: {row.message}"
            for row in frame.itertuples()
        ]
    )
