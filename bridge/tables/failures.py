"""Failures: what could not be had, and why. Filled last, so that it has those of other tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from bridge.tables import Column, Evidence, Frames, View, records, table

failures = table(
    "failures",
    heading="Not available",
    columns=[
        Column("method"),
        Column("implementation", heading="by"),
        Column("stage"),
        Column("error"),
        Column("message"),
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
    return View(
        remarks=[
            f"{' '.join(filter(None, [row['method'], row['implementation']]))} ({row['stage']}): "
            f"{row['error']}: {row['message']}"
            for row in records(frame.drop_duplicates(["method", "implementation", "stage"]))
        ]
    )
