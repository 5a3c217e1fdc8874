"""Attributions in numbers: mean, median and interval of each quantity, by method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.statistics.consensus import by_method
from bridge.statistics.intervals import describe
from bridge.tables import Column, Frames, View, plain, records
from bridge.tables.study._summary import (
    IMAGES_COLUMN,
    METHOD,
    SCALED,
    Results,
    interval,
    summary_table,
    without_ends,
)

CONSENSUS = "agreement"
SAYS = {
    "total": "the sum of the map",
    "largest": "largest |value|",
    "gini": "sparseness (Gini), 1: one pixel has it all",
    CONSENSUS: "mean rank correlation with the other methods' maps",
}
VALUES = (
    IMAGES_COLUMN,
    *interval("mean", "mean", ".4g"),
    Column("median", format=".4g"),
)

maps = summary_table(
    "maps",
    heading="Attributions in numbers",
    columns=[Column("quantity", key=True), METHOD, *VALUES],
    note="In brackets the bootstrap's 95 % interval of the mean.",
    order=70,
)


def measured(results: Results) -> dict[str, pd.DataFrame]:
    """By quantity images x methods: what each attribution's row has, and how far maps agree."""
    found = {name: results.wide(name) for name in results.quantities}
    if len(results.pairs):
        found[CONSENSUS] = by_method(results.pairs)
    return {name: wide for name, wide in found.items() if wide.size}


def comparable(results: Results) -> dict[str, pd.DataFrame]:
    """Of those the quantities that mean the same for every method."""
    return {name: wide for name, wide in measured(results).items() if name not in SCALED}


@maps.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a quantity and method."""
    found = measured(results)
    if found:
        together = pd.concat(found, axis=1)
        for (quantity, method), row in describe(together, seed=results.seed).iterrows():
            yield {"quantity": quantity, "method": method, **row}


@maps.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Every row, and what the quantities are."""
    said = [f"{name}: {SAYS[name]}" for name in dict.fromkeys(frame["quantity"]) if name in SAYS]
    note = "\n".join([maps.note, "; ".join(said) + "." if said else ""]).strip()
    return plain(without_ends(maps.columns), records(frame), note)
