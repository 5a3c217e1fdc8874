"""Success over queries: attacks of one size one after another, the cheapest first."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bridge.statistics.budget import success_over_passes
from bridge.tables import EPSILON, Column, Frames, View, plain, records
from bridge.tables.study._summary import METHOD, Results, interval, summary_table, without_ends

queries = summary_table(
    "queries",
    heading="Success over passes",
    columns=[
        METHOD,
        Column("norm", key=True),
        EPSILON,
        Column("right", heading="images (right)", format=".0f", low=0, key=True),
        Column("passes", heading="passes an image", format=".1f", low=0),
        Column("alone", heading="fools alone", format=".1%", low=0, high=1),
        Column("spent", heading="passes so far", format=".1f", low=0),
        *interval("success", "fooled so far", ".1%", low=0, high=1),
    ],
    note=(
        "Attacks of one norm and size one after another, the cheapest first: passes (forwards and "
        "backwards) spent an image, and how many images any of them fools by then."
    ),
    order=50,
)


@queries.computed
def rows(results: Results) -> list[dict[str, Any]]:
    """A row an attack and size (see `bridge.statistics.budget.success_over_passes`)."""
    return records(success_over_passes(results.images, results.attacks))


@queries.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """The sizes at which there is more than one attack to order."""
    cells = frame.groupby(["norm", "epsilon"], dropna=False)["method"].transform("size")
    several = frame[cells > 1]
    if not len(several):
        return plain(without_ends(queries.columns), records(frame), queries.note)
    return plain(without_ends(queries.columns), records(several), queries.note)
