"""Transfer: what the attacks' images do to a second model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bridge.statistics.transfer import transfers
from bridge.tables import EPSILON, Column, Frames, View, plain, records
from bridge.tables.study._summary import METHOD, Results, interval, summary_table, without_ends

transfer = summary_table(
    "transfer",
    heading="Transfer to a second model",
    columns=[
        METHOD,
        Column("norm", key=True),
        EPSILON,
        Column("both", heading="images (both right)", format=".0f", low=0, key=True),
        Column("success", heading="fools the first", format=".1%", low=0, high=1),
        *interval("transfer", "fools the second", ".1%", low=0, high=1),
        Column("given", heading="of those that fool the first", format=".1%", low=0, high=1),
        Column("second", heading="second model"),
    ],
    note="Of the images that both models get right. The second model's gradient was never used.",
    order=60,
)


@transfer.computed
def rows(results: Results) -> list[dict[str, Any]]:
    """A row an attack and size (see `bridge.statistics.transfer.transfers`)."""
    found = transfers(results.images, results.attacks)
    return records(found.assign(second=results.second))


@transfer.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Every row; the second model's name in the note."""
    second = next((name for name in frame["second"] if name), "")
    note = transfer.note + (f" It is {second}." if second else "")
    columns = [c for c in without_ends(transfer.columns) if c.name != "second"]
    return plain(columns, records(frame), note)
