"""Attacks: what the returned images achieve, audited by us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from bridge.metrics.attack import audit
from bridge.tables import (
    Cell,
    Column,
    Evidence,
    Frames,
    View,
    epsilon_text,
    plain,
    records,
    stated,
    table,
)


def _epsilon(value: Any, row: Mapping[str, Any]) -> str:
    return epsilon_text(value, row["norm"])


def _reasons(value: Any, row: Mapping[str, Any]) -> str:
    return value or "none"


attacks = table(
    "attacks",
    heading="Attacks",
    columns=[
        Column("method", key=True),
        Column("implementation", heading="by", key=True),
        Column("epsilon", text=_epsilon, number=True, low=0),
        Column("norm"),
        Column("success", heading="fooled", format=".0%", better="higher", low=0, high=1),
        Column("changed", format=".0%", better="higher", low=0, high=1),
        Column("success_8bit", heading="8-bit", format=".0%", better="higher", low=0, high=1),
        Column("correct", format=".0f", low=0, key=True),
        Column("images", format=".0f", low=0, key=True),
        Column("l0", format=".0f", better="lower", low=0),
        Column("l2", format=".3f", better="lower", low=0),
        Column("linf", format=".4f", better="lower", low=0),
        Column("unchanged", format=".0f", low=0, key=True),
        Column("invalid", format=".0f", better="lower", low=0, key=True),
        Column("reasons", heading="invalid", text=_reasons, key=True),
        Column("labels", choices=("given", "predicted")),
    ],
    order=20,
)
SHOWN = (
    *("method", "implementation", "epsilon", "success", "success_8bit", "changed"),
    *("linf", "l2", "l0", "reasons"),
)


@attacks.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """A row for each attack, implementation and epsilon (see `bridge.core.types.Score`)."""
    for cell in evidence.of("attack"):
        try:
            yield _row(evidence, cell)
        except Exception as error:
            evidence.failed(cell.method.name, cell.implementation, "audit", error)


def _row(evidence: Evidence, cell: Cell) -> dict[str, Any]:
    x, labels = evidence.batch(cell)
    score = audit(
        evidence.model,
        x,
        labels,
        cell.run.output.to(x.device),
        epsilon=cell.epsilon,
        norm=cell.method.norm,
        targeted=bool(cell.run.params.get("targeted")),
    )
    return {
        "method": cell.method.name,
        "implementation": cell.implementation,
        "epsilon": cell.epsilon,
        "norm": cell.method.norm,
        **asdict(score),
        "labels": "given" if evidence.labelled else "predicted",
    }


@attacks.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """A row for each, and a remark where the gradient is masked."""
    images = frame["images"].max()
    found = records(frame[frame["images"] == images])
    among = f"the {found[0]['correct']} of {images} images that the model gets right"
    if found[0].get("labels") == "predicted":
        among = f"the {images} images that lost the model's own prediction (there are no labels)"
    note = (
        f"Fooled: share of {among}, checked again by us; 8-bit: after rounding to 256 levels; "
        "changed: against the model's own prediction. Norms: medians of the perturbations."
    )
    remarks = [text for row in found if (text := _masked(row))]
    if len(found) < len(frame):
        note += " Others ran on the images that are judged; their rows are in the saved table."
    return plain([attacks[name] for name in SHOWN], found, note, remarks)


def _masked(row: Mapping[str, Any]) -> str:
    """What to think of an attack that left most images as they were; "" of another."""
    # Of the images that there was a reason to change.
    stuck = row["unchanged"] - (row["images"] - row["correct"])
    if stuck <= 0 or stuck < row["correct"] / 2 or stated(row["epsilon"]) == 0:
        return ""
    return (
        f"{row['implementation']}'s {row['method']} at {attacks['epsilon'].show(row)} left {stuck} "
        f"of {row['correct']} images untouched: the loss gradient is zero there (gradient masking, "
        "such as a saturated softmax), so this says nothing about robustness."
    )
