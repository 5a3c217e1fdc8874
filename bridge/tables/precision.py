"""Precision: what 16 bits leave of each method, by rank and cosine, where gaps say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bridge.tables import EPSILON, ROUNDING, Column, Evidence, table

MEASURES = tuple(
    Column(name, heading, format=".3f", span=(-1, 1), low=-1 - ROUNDING, high=1 + ROUNDING)
    for name, heading in (
        ("rank", "rank"),
        ("cosine", "cosine"),
        ("reference_rank", "reference's rank"),
        ("reference_cosine", "reference's cosine"),
    )
)

precision = table(
    "precision",
    heading="What 16 bits leave",
    columns=[
        Column("method", key=True),
        Column("implementation", heading="by", key=True),
        EPSILON,
        *MEASURES,
    ],
    note=(
        "Rank correlation and cosine with our reference in float64, the least of all images: of "
        "maps, or of what an attack changed. An implementation may be turned by 8 times as much as "
        "the reference itself is by computing in 16 bits."
    ),
    order=15,
)


@precision.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """A row for each method, implementation and epsilon that was computed in 16 bits."""
    for judged in evidence.judged:
        if judged.agreement.direction is not None:
            key = {"method": judged.method, "implementation": judged.implementation}
            yield {**key, "epsilon": judged.epsilon, **asdict(judged.agreement.direction)}
