"""Attacks: what the returned images achieve, audited by us."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd

from bridge.core.types import Score
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
    score = evidence.once("score", cell, partial(_score, evidence, cell))
    return {
        "method": cell.method.name,
        "implementation": cell.implementation,
        "epsilon": cell.epsilon,
        "norm": cell.method.norm,
        **asdict(score),
        "labels": "given" if evidence.labelled else "predicted",
    }


def _score(evidence: Evidence, cell: Cell) -> Score:
    x, labels = evidence.batch(cell)
    return audit(
        evidence.model,
        x,
        labels,
        cell.run.output.to(x.device),
        epsilon=cell.epsilon,
        norm=cell.method.norm,
        targeted=bool(cell.run.params.get("targeted")),
    )


@attacks.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """A row for all implementations that come to the same; a remark where a gradient is masked."""
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
    return plain([attacks[name] for name in SHOWN], _together(found, frame, frames), note, remarks)


def _together(
    found: Sequence[Mapping[str, Any]], frame: pd.DataFrame, frames: Frames
) -> list[dict[str, Any]]:
    """The rows, one for all implementations of an attack whose numbers read the same.

    Its "by" says how many of those that ran these are: on these images, or where it ran alone
    there, by the verdicts on the images that are judged.
    """
    ran = Counter(_of(row) for row in found)
    same: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in found:
        key = (attacks[name].show(row) for name in SHOWN if name != "implementation")
        same.setdefault(tuple(key), []).append(row)
    judged = _judged(frame, frames)
    rows = []
    for group in same.values():
        names = ", ".join(row["implementation"] for row in group)
        count, of = len(group), ran[_of(group[0])]
        if of > 1:
            names = f"{f'all {of}' if count == of else f'{count} of {of}'}: {names}"
        elif said := judged.get(_of(group[0])):
            names = f"{names} ({said})"
        rows.append({**group[0], "implementation": names})
    return rows


def _judged(frame: pd.DataFrame, frames: Frames) -> dict[tuple[Any, ...], str]:
    """By attack and size how many of those that ran agree with the reference, it included."""
    agreement = frames.get("agreement")
    ran = Counter(_of(row) for row in records(frame))
    fine: Counter[tuple[Any, ...]] = Counter()
    for row in [] if agreement is None else records(agreement):
        fine[_of(row)] += row["verdict"] in ("equal", "rounding")
    counts = {key: (1 + fine[key], ran[key]) for key in fine if ran[key] > 1}
    return {
        key: f"all {of} agree" if agree >= of else f"{agree} of {of} agree"
        for key, (agree, of) in counts.items()
    }


def _of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Of which attack and size a row is."""
    return row["method"], stated(row["epsilon"])


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
