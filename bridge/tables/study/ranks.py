"""Mean ranks of the methods over the images, with Friedman's test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.statistics.paired import holm, ranked
from bridge.statistics.robustness import smallest
from bridge.tables import Column, Frames, View, plain, records
from bridge.tables.study._summary import IMAGES_COLUMN, METHOD, P, Results, summary_table
from bridge.tables.study.maps import comparable
from bridge.tables.study.metrics import by_metric

ranks = summary_table(
    "ranks",
    heading="Mean ranks",
    columns=[
        Column("quantity", key=True),
        METHOD,
        Column("mean_rank", heading="mean rank", format=".2f", low=1),
        IMAGES_COLUMN,
        Column("statistic", heading="Friedman's chi²", format=".4g", low=0),
        P,
    ],
    note=(
        "On every image the methods are ranked, from 1, the smallest value, on; ties share. "
        "Friedman's test: p that all methods rank alike, Holm-corrected over the quantities."
    ),
    order=100,
)


def paired(results: Results) -> dict[str, pd.DataFrame]:
    """By quantity images x methods: what can be held against each other on the same images."""
    found = {**comparable(results), **by_metric(results)}
    for norm in results.attacks["norm"].unique():
        wide = smallest(results.images, results.attacks, str(norm))
        found[f"smallest size that fools ({norm or 'no norm'})"] = wide
    return {name: wide for name, wide in found.items() if wide.shape[1] > 1}


@ranks.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a quantity and method."""
    found = {quantity: ranked(wide) for quantity, wide in paired(results).items()}
    corrected = holm([each.p for each in found.values()])
    for (quantity, each), p in zip(found.items(), corrected, strict=True):
        for method, rank in each.ranks.items():
            key = {"quantity": quantity, "method": method, "mean_rank": rank}
            yield {**key, "images": each.images, "statistic": each.statistic, "p_holm": p}


@ranks.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Every quantity, its methods by their rank."""
    places = {name: place for place, name in enumerate(dict.fromkeys(frame["quantity"]))}
    ordered = frame.assign(place=frame["quantity"].map(places))
    ordered = ordered.sort_values(["place", "mean_rank"], kind="stable")
    return plain(ranks.columns, records(ordered), ranks.note)
