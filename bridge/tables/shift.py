"""Shift: how far an attack moves the attributions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from bridge.tables import EPSILON, Column, Evidence, Frames, View, records, table
from bridge.tables._moved import SPEARMAN, is_control, moved_rows

IOU = Column("top10_iou", heading="top-10% iou", format=".2f", low=0, high=1)

shift = table(
    "shift",
    heading="How far attacks move the attributions",
    columns=[Column("attack", key=True), EPSILON, Column("method", key=True), SPEARMAN, IOU],
    note=(
        "Rank correlation of a map before and after each attack at its largest epsilon, and in "
        "brackets the overlap of the top tenth of the pixels. An attack that ignores the model is "
        "the control, and comes last: the others matter where they stay below it."
    ),
    order=50,
    long=True,
)


@shift.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Each attack's largest epsilon, and the attributions that need no passes of their own."""
    for row in moved_rows(evidence):
        if row["images"] == "all":
            yield {name: row[name] for name in shift.names}


@shift.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Attacks x attributions, the control last."""
    found = {(row["attack"], row["method"]): row for row in records(frame)}
    attributions = list(dict.fromkeys(frame["method"]))
    columns = [
        Column("attack"),
        *(replace(SPEARMAN, name=name, heading=name) for name in attributions),
    ]
    texts, values = [], []
    for attack in sorted(dict.fromkeys(frame["attack"]), key=is_control):
        cells = [found.get((attack, name)) for name in attributions]
        texts.append(
            [attack, *(f"{SPEARMAN.show(row)} ({IOU.show(row)})" if row else "" for row in cells)]
        )
        values.append([attack, *(row["spearman"] if row else None for row in cells)])
    return View(columns, texts, shift.note, values=values)
