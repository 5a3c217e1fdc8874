"""Accuracy: clean, and under each attack, with Wilson's intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.statistics.budget import passes
from bridge.statistics.intervals import wilson
from bridge.statistics.robustness import CELL, accuracies
from bridge.tables import EPSILON, Column, Frames, View, plain, records
from bridge.tables.study._summary import (
    IMAGES_COLUMN,
    METHOD,
    Results,
    interval,
    summary_table,
    without_ends,
)

CLEAN = "clean"

accuracy = summary_table(
    "accuracy",
    heading="Accuracy, clean and under attack",
    columns=[
        METHOD,
        Column("norm", key=True),
        EPSILON,
        IMAGES_COLUMN,
        Column("right", format=".0f", low=0, key=True),
        Column("fooled", format=".0f", low=0, key=True),
        *interval("accuracy", "accuracy", ".1%", better="higher", span=(0, 1), low=0, high=1),
        *interval("success", "fooled of those right", ".1%", low=0, high=1),
        Column("passes", heading="passes an image", format=".1f", low=0),
    ],
    note=(
        "Accuracy: share of all images that are classified right, and still are after the attack. "
        "In brackets Wilson's 95 % interval. Passes: forwards and backwards."
    ),
    order=10,
)


@accuracy.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row of the clean images, and one an attack and epsilon."""
    images = results.images
    n, right = len(images), int(images["right"].astype(bool).sum())
    if n:
        low, high = wilson(right, n)
        ends = {"accuracy": right / n, "accuracy_low": float(low), "accuracy_high": float(high)}
        yield {"method": CLEAN, "norm": "", "images": n, "right": right, "fooled": 0, **ends}
    attacks = results.attacks.assign(passes=passes(results.attacks))
    cost = attacks.groupby(CELL, sort=False, dropna=False)["passes"].mean().reset_index()
    yield from records(accuracies(images, attacks).merge(cost, on=CELL))


@accuracy.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Every row; the clean ones have no size."""
    shown = [
        {**row, "norm": None if row["method"] == CLEAN else row["norm"]} for row in records(frame)
    ]
    columns = [c for c in without_ends(accuracy.columns) if c.name not in ("right", "fooled")]
    return plain(columns, shown, accuracy.note)
