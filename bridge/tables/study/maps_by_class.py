"""Attributions in numbers, class by class: mean, median and interval, by method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.statistics.intervals import describe
from bridge.tables import Column, Frames, View, records
from bridge.tables.study._summary import Results, interval, summary_table
from bridge.tables.study.classes import MOST
from bridge.tables.study.maps import VALUES, comparable

MEAN, _, _ = interval("mean", "mean", ".3g")  # shorter: a column a method

maps_by_class = summary_table(
    "maps_by_class",
    heading="Attributions in numbers, class by class",
    columns=[
        Column("quantity", key=True),
        Column("label", format=".0f", key=True),
        Column("class", key=True),
        Column("method", key=True),
        *VALUES,
    ],
    note="Means, in brackets the bootstrap's 95 % interval. Every row has the medians too.",
    order=80,
)


@maps_by_class.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a quantity that means the same for every method, class and method."""
    found = comparable(results)
    if not found:
        return
    together = pd.concat(found, axis=1)
    labels = results.labels.reindex(together.index)
    described = {
        int(label): describe(of_class, seed=results.seed)
        for label, of_class in together.groupby(labels, sort=True)
    }
    for quantity in found:
        for label, of_class in described.items():
            key = {"quantity": quantity, "label": label, "class": results.class_name(label)}
            for method, row in of_class.loc[quantity].iterrows():
                yield {**key, "method": method, **row}


@maps_by_class.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Classes x methods, one quantity below another; of many classes the first ones."""
    methods = list(frame["method"].unique())
    columns = [Column("quantity"), Column("class")]
    columns += [Column(name, name, format=".3g") for name in methods]
    texts, values = [], []
    left_out = 0
    for quantity, of_quantity in frame.groupby("quantity", sort=False):
        for place, (_, of_class) in enumerate(of_quantity.groupby("label")):
            if place >= MOST:
                left_out += 1
                continue
            cells = {row["method"]: row for row in records(of_class)}
            said = [MEAN.show(cells[m]) if m in cells else "" for m in methods]
            texts.append([str(quantity), str(of_class["class"].iloc[0]), *said])
            values.append(
                [None, None, *(cells[m]["mean"] if m in cells else None for m in methods)]
            )
    note = maps_by_class.note
    if left_out:
        note += f" The first {MOST} classes of each quantity."
    return View(columns, texts, note, values=values)
