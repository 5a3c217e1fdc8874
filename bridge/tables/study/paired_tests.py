"""Paired tests between methods: Wilcoxon of numbers, McNemar of who was fooled; Holm-corrected."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bridge.statistics.paired import compared, holm, mcnemar
from bridge.statistics.robustness import with_right
from bridge.tables import Column, Frames, View, epsilon_text, plain, records
from bridge.tables.study._summary import IMAGES_COLUMN, P, Results, summary_table
from bridge.tables.study.ranks import paired

MOST = 30  # rows that people see; the others stand in every row


def _gap(value: Any, row: Mapping[str, Any]) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.3g}"


tests = summary_table(
    "tests",
    heading="Paired tests between methods",
    columns=[
        Column("quantity", key=True),
        Column("a", key=True),
        Column("b", key=True),
        Column("test", choices=("Wilcoxon", "McNemar"), key=True),
        IMAGES_COLUMN,
        Column("larger", heading="a > b", format=".0%", low=0, high=1),
        Column("smaller", heading="a < b", format=".0%", low=0, high=1),
        Column("median", heading="median of a - b", format=".3g", text=_gap),
        Column("p", format=".3g", low=0, high=1),
        P,
    ],
    note=(
        "Both methods on the same images: Wilcoxon's signed-rank test of numbers, McNemar's exact "
        "test of who is fooled (a > b: only a fools). p is corrected by Holm within a quantity. "
        "With many images a difference may be certain and small: look at the median too."
    ),
    order=110,
)


@tests.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a quantity and pair of methods."""
    for quantity, wide in paired(results).items():
        for row in records(compared(wide)):
            yield {"quantity": quantity, "test": "Wilcoxon", **row}
    attacked = with_right(results.images, results.attacks)
    sized = attacked[attacked["right"] & attacked["epsilon"].gt(0)]
    for (norm, epsilon), cell in sized.groupby(["norm", "epsilon"], sort=False):
        yield from _fooled(f"fooled at {norm} {epsilon_text(epsilon, str(norm))}", cell)


def _fooled(quantity: str, cell: pd.DataFrame) -> list[dict[str, Any]]:
    """Every two attacks of one size, by the images that only one of them fools."""
    wide = cell.groupby(["id", "method"], sort=False)["fooled"].first().unstack("method")
    found = []
    for a, b in itertools.combinations(cell["method"].unique(), 2):
        both = wide[[a, b]].dropna().astype(bool)
        only_a, only_b = int((both[a] & ~both[b]).sum()), int((both[b] & ~both[a]).sum())
        n = len(both)
        share = {"larger": only_a / n, "smaller": only_b / n} if n else {}
        p = mcnemar(only_a, only_b) if n else math.nan
        found.append({"quantity": quantity, "a": a, "b": b, "images": n, **share, "p": p})
    corrected = holm([row["p"] for row in found])
    return [
        {**row, "test": "McNemar", "p_holm": p} for row, p in zip(found, corrected, strict=True)
    ]


@tests.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Numbers first; of many rows the first ones."""
    columns = [column for column in tests.columns if column.name != "p"]
    note = tests.note
    if len(frame) > MOST:
        note += f" The first {MOST} of {len(frame)} rows."
    return plain(columns, records(frame.head(MOST)), note)
