"""Metrics of the maps over the whole set: mean, median and interval, beside maps of no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.metrics.registry import get
from bridge.metrics.registry import metrics as known
from bridge.statistics.intervals import describe
from bridge.tables import Column, Frames, View, plain, records
from bridge.tables.study._summary import (
    IMAGES_COLUMN,
    METHOD,
    Results,
    interval,
    summary_table,
    without_ends,
)

WAY = {"lower": "less is better", "higher": "more is better", "neither": "neither end is good"}

metrics = summary_table(
    "metrics",
    heading="Metrics of the maps",
    columns=[
        Column("metric", key=True),
        METHOD,
        Column("control", choices=("", "control")),
        IMAGES_COLUMN,
        Column("undefined", heading="NaN", format=".0f", low=0, key=True),
        *interval("mean", "mean", ".3g"),
        Column("median", format=".3g"),
    ],
    note=(
        "In brackets the bootstrap's 95 % interval of the mean. A control looks at no model: a "
        "method that does not beat it says nothing. NaN counts images where it is not defined."
    ),
    order=74,
)


def by_metric(results: Results) -> dict[str, pd.DataFrame]:
    """By metric images x methods, the controls last."""
    frame, found = results.metrics, {}
    for name, rows in frame.groupby("metric", sort=False):
        wide = rows.groupby(["id", "method"], sort=False)["value"].first().unstack("method")
        found[str(name)] = wide[list(rows["method"].unique())]
    return found


@metrics.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a metric and method (or control)."""
    frame = results.metrics
    controls = set(frame.loc[frame["control"].astype(bool), "method"])
    there = frame.groupby(["metric", "method"])["value"].agg(["size", "count"])
    for name, wide in by_metric(results).items():
        for method, row in describe(wide, seed=results.seed).iterrows():
            size, count = there.loc[(name, method)]
            control = "control" if method in controls else ""
            key = {"metric": name, "method": method, "control": control}
            yield {**key, "undefined": int(size - count), **row}


@metrics.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Every row, and which end of a metric is good."""
    names = [name for name in dict.fromkeys(frame["metric"]) if name in known()]
    said = "; ".join(f"{name}: {WAY[get(name).better]}" for name in names)
    note = "\n".join([metrics.note, f"{said}." if said else ""]).strip()
    return plain(without_ends(metrics.columns), records(frame), note)
