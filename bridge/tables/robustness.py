"""Robustness: what an attack does to maps, of images that it fooled, and what noise does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bridge.metrics.similarity import TOP
from bridge.tables import EPSILON, ROUNDING, Column, Evidence, Frames, View, records, table
from bridge.tables._moved import SPEARMAN, is_control, moved_rows

GROUPS = ("kept", "flipped", "noise")
# What a page tells of a cell besides.
MEASURES = (
    SPEARMAN,
    Column("top10_iou", heading="top-10% iou", format=".2f", low=0, high=1),
    Column("top10_near", heading="top-10% within a pixel", format=".2f", low=0, high=1 + ROUNDING),
    Column("ssim", format=".2f", low=-1 - ROUNDING, high=1 + ROUNDING),
    Column("centre", heading="centre moved by", unit="pixels", format=".1f", low=0),
)

robustness = table(
    "robustness",
    heading="Maps of images that were fooled, and of those that were not",
    columns=[
        Column("attack", key=True),
        EPSILON,
        Column("method", key=True),
        Column("images", choices=GROUPS),
        Column("count", format=".0f", low=0),
        *MEASURES,
        Column("energy", format=".0%", low=0, high=1 + ROUNDING),
        Column("area", format=".0%", low=0, high=1),
    ],
    note=(
        "Rank correlation of a map before and after each attack: of images that kept their "
        "predicted class / that changed it / of all under noise of the same size. Energy: the "
        f"share of the perturbation on the top {TOP:.0%} of the clean map's pixels, mean over the "
        "attributions."
    ),
    order=51,
    long=True,
)


@robustness.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """As in the table of shifts, each group of images by itself; those that have any."""
    for row in moved_rows(evidence):
        if row["images"] in GROUPS and row["count"]:
            yield {name: row[name] for name in robustness.names}


@robustness.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Attacks x attributions, the control last."""
    found = {(row["attack"], row["method"], row["images"]): row for row in records(frame)}
    attributions = list(dict.fromkeys(frame["method"]))
    energy = robustness["energy"]
    columns = [
        Column("attack"),
        Column("flipped", heading="changed class"),
        energy,
        *(Column(name, heading=name) for name in attributions),
    ]
    texts, details = [], []
    for attack in sorted(dict.fromkeys(frame["attack"]), key=is_control):
        groups = [
            {each: found.get((attack, name, each), {}) for each in GROUPS} for name in attributions
        ]
        flipped, kept = (groups[0][each].get("count", 0) for each in ("flipped", "kept"))
        mine = frame[(frame["attack"] == attack) & (frame["images"] != "noise")]
        texts.append(
            [
                attack,
                f"{flipped:.0f} of {flipped + kept:.0f}",
                energy.show({"energy": _weighted(mine)}),
                *(_three(SPEARMAN, each) for each in groups),
            ]
        )
        details.append(
            [
                "",
                "",
                "",
                *("; ".join(f"{m.title} {_three(m, g)}" for m in MEASURES) for g in groups),
            ]
        )
    return View(columns, texts, robustness.note, details=details)


def _three(column: Column, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """A measure of the three groups; a group without images is a dash."""
    return " / ".join((column.show(groups[each]) if groups[each] else "") or "-" for each in GROUPS)


def _weighted(frame: pd.DataFrame) -> float:
    """The mean energy over images."""
    known = frame[frame["energy"].notna()]
    total = known["count"].sum()
    return float((known["energy"] * known["count"]).sum() / total) if total else float("nan")
