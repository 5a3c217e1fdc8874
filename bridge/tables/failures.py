"""Failures: what could not be had, and why. Filled last, so that it has those of other tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from bridge.tables import Column, Evidence, Frames, View, records, table

failures = table(
    "failures",
    heading="Not available",
    columns=[
        Column("method", key=True),
        Column("implementation", heading="by", key=True),
        Column("stage", key=True),
        Column("error", key=True),
        Column("message", key=True),
    ],
    order=1000,
)


@failures.fill
def rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Each failure once (see `bridge.core.types.Failure`)."""
    return [asdict(failure) for failure in dict.fromkeys(evidence.failures)]


@failures.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """A line each; of several epsilons the first."""
    shown = records(frame.drop_duplicates(["method", "implementation", "stage"]))
    return View(remarks=[_sentence(row) for row in shown])


def _sentence(row: Mapping[str, Any]) -> str:
    what = " ".join(filter(None, [row["method"], row["implementation"], f"({row['stage']})"]))
    # Where the text alone would say nothing, it begins with the kind of error.
    said = row["message"].startswith(row["error"])
    return f"{what}: {row['message'] if said else row['error'] + ': ' + row['message']}"
