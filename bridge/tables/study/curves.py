"""Accuracy over epsilon: the points of the curves. A report draws them."""

from __future__ import annotations

from typing import Any

from bridge.statistics.robustness import curves as computed
from bridge.tables import EPSILON, Column, records
from bridge.tables.study._summary import IMAGES_COLUMN, METHOD, Results, interval, summary_table

curves = summary_table(
    "curves",
    heading="Accuracy over epsilon",
    columns=[
        Column("norm", key=True),
        METHOD,
        EPSILON,
        IMAGES_COLUMN,
        *interval("accuracy", "accuracy", ".1%", better="higher", low=0, high=1),
    ],
    note="With Wilson's 95 % intervals; worst case: all attacks of the study, image by image.",
    order=30,
)
curves.shown = False  # the same numbers as in the tables of accuracy, ordered for drawing


@curves.computed
def rows(results: Results) -> list[dict[str, Any]]:
    """A row a point (see `bridge.statistics.robustness.curves`)."""
    return records(computed(results.images, results.attacks))
