"""The worst case: every image meets the attack that is worst for it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bridge.statistics.robustness import worst_case as computed
from bridge.tables import EPSILON, Column, Frames, View, plain, records
from bridge.tables.study._summary import (
    IMAGES_COLUMN,
    Results,
    interval,
    summary_table,
    without_ends,
)

worst_case = summary_table(
    "worst_case",
    heading="Worst case, image by image",
    columns=[
        Column("norm", key=True),
        EPSILON,
        Column("attacks", format=".0f", low=1, key=True),
        IMAGES_COLUMN,
        Column("right", format=".0f", low=0, key=True),
        Column("fooled", format=".0f", low=0, key=True),
        *interval("accuracy", "accuracy", ".1%", better="higher", span=(0, 1), low=0, high=1),
        Column("best", heading="strongest alone"),
        Column("best_accuracy", heading="it leaves", format=".1%", low=0, high=1),
        Column("together", heading="only others fool", format=".0f", low=0),
        Column("left_out", format=".0f", low=0, key=True),
    ],
    note=(
        "An image counts as fooled where any attack of the study returned one within this ball "
        "that fools, whichever norm it was made for. Only others fool: images that the strongest "
        "attack alone leaves standing, and another does not."
    ),
    order=20,
)


@worst_case.computed
def rows(results: Results) -> list[dict[str, Any]]:
    """A row a norm and epsilon (see `bridge.statistics.robustness.worst_case`)."""
    return records(computed(results.images, results.attacks))


@worst_case.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Every row, and what is left out."""
    remarks = [
        f"{row['left_out']} images are left out at {row['norm']} {EPSILON.show(row)}: not every "
        "attack of this size ran on them."
        for row in records(frame)
        if row["left_out"]
    ]
    hidden = ("fooled", "left_out")
    columns = [c for c in without_ends(worst_case.columns) if c.name not in hidden]
    return plain(columns, records(frame), worst_case.note, remarks)
