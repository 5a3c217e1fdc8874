"""Which method is better over the metrics, and how far these disagree: as LATEC ranks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.metrics.ranking import ranked
from bridge.metrics.registry import get
from bridge.metrics.registry import metrics as known
from bridge.tables import Column, Frames, View, plain, records
from bridge.tables.study._summary import (
    METHOD,
    Results,
    interval,
    summary_table,
    without_ends,
)

metric_ranks = summary_table(
    "metric_ranks",
    heading="Methods ranked over the metrics",
    columns=[
        METHOD,
        Column("control", choices=("", "control")),
        *interval("mean_rank", "mean rank", ".1f"),
        Column("disagreement", heading="+-", format=".1f", low=0),
        Column("beats", heading="beats all controls", format=".0%", low=0, high=1),
        Column("undefined", heading="NaN", format=".0f", low=0, key=True),
        Column("over", heading="over the metrics"),
    ],
    note=(
        "Mean rank, 1 is best, of the metrics' means over the images, with the bootstrap's 95 % "
        "interval; +- is how far the metrics disagree about it (standard deviation of the ranks). "
        "A method behind a control, so marked, says nothing that this control does not."
    ),
    order=76,
)


@metric_ranks.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a method and control, over the metrics that every one of them has."""
    frame = results.metrics
    methods = frame["method"].nunique()
    common = [
        name
        for name, found in frame.groupby("metric", sort=False)["method"].nunique().items()
        if found == methods and name in known() and get(str(name)).better != "neither"
    ]
    if not common or methods < 2:
        return
    measured = frame[frame["metric"].isin(common)].rename(columns={"id": "image"})
    measured = measured.assign(control=measured["control"].astype(bool))
    for row in records(ranked(measured, seed=results.seed).reset_index()):
        yield {
            "method": row["method"],
            "control": "control" if row["control"] else "",
            "mean_rank": row["mean_rank"],
            "mean_rank_low": row["low"],
            "mean_rank_high": row["high"],
            "disagreement": row["disagreement"],
            "beats": float("nan") if row["control"] else row["beats"],
            "undefined": row["undefined"],
            "over": ", ".join(map(str, common)),
        }


@metric_ranks.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Best first, a method behind a control marked; over which metrics is said once."""
    columns = [c for c in without_ends(metric_ranks.columns) if c.name != "over"]
    over = frame["over"].iloc[0]
    note = f"{metric_ranks.note} Over the metrics that all rows have: {over}."
    best = frame.loc[frame["control"] != "", "mean_rank"].min()
    behind = (frame["control"] == "") & (frame["mean_rank"] > best)
    marked = frame.assign(method=frame["method"].where(~behind, frame["method"] + " (behind)"))
    return plain(columns, records(marked), note)
