"""Similarity between methods over the whole set: rank correlation of each pair's maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.statistics.intervals import describe
from bridge.tables import Column, Frames, View, plain, records
from bridge.tables.study._summary import (
    IMAGES_COLUMN,
    Results,
    interval,
    summary_table,
    without_ends,
)

similarity = summary_table(
    "similarity",
    heading="Similarity between methods",
    columns=[
        Column("a", key=True),
        Column("b", key=True),
        IMAGES_COLUMN,
        *interval("mean", "mean rank correlation", ".2f", span=(-1, 1), low=-1.01, high=1.01),
        Column("median", format=".2f", span=(-1, 1)),
    ],
    note=(
        "Do two methods rank the pixels of an image alike? 1: the same order. In brackets the "
        "bootstrap's 95 % interval of the mean over images."
    ),
    order=90,
)


@similarity.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a pair of methods."""
    if len(results.pairs):
        found = results.pairs.groupby(["id", "a", "b"], sort=False)["spearman"].first()
        wide = found.unstack(["a", "b"])
        for (a, b), row in describe(wide, seed=results.seed).iterrows():
            yield {"a": a, "b": b, **row}


@similarity.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """The pairs, most similar first."""
    ranked = frame.sort_values("mean", ascending=False, kind="stable")
    return plain(without_ends(similarity.columns), records(ranked), similarity.note)
