"""Shift: how far an attack moves the attributions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from bridge.core.method import Method
from bridge.core.registry import get, methods
from bridge.fused import run_many
from bridge.metrics import similarity as measures
from bridge.tables import EPSILON, ROUNDING, Column, Evidence, Frames, View, records, table

SPEARMAN = Column("spearman", format=".2f", span=(-1, 1), low=-1 - ROUNDING, high=1 + ROUNDING)
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
    clean = {m: output for m, output in evidence.maps().items() if _cheap(m, evidence)}
    maps = {m.name: measures.importance(a, evidence.size) for m, a in clean.items()}
    ranked = {name: measures.ranks(map_) for name, map_ in maps.items()}
    wanted = {name: evidence.params.get(name, {}) for name in maps}
    for attack in dict.fromkeys(cell.method for cell in evidence.of("attack")) if maps else ():
        epsilon = max(
            (cell.epsilon for cell in evidence.cells if cell.method is attack),
            key=lambda size: size or 0,
        )
        attacked = evidence.chosen(attack, epsilon)
        if attacked is None or not bool(attacked.isfinite().all()):
            continue
        images = attacked.to(evidence.x).clamp(*evidence.model.bounds)
        many = run_many(
            evidence.model, images, evidence.target, wanted, predict=False, seed=evidence.seed
        )
        for name, run in many.items():
            moved = measures.importance(run.output.cpu(), evidence.size)
            correlation = measures.spearman(ranked[name], measures.ranks(moved))
            yield {
                "attack": attack.name,
                "epsilon": epsilon,
                "method": name,
                "spearman": float(correlation.nanmean()),
                "top10_iou": float(measures.top_k_iou(maps[name], moved).nanmean()),
            }


def _cheap(method: Method, evidence: Evidence) -> bool:
    params = method.bind(evidence.params.get(method.name, {}))
    return method.fast is not None and not any(method.fast.passes(evidence.x, **params))


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
    for attack in sorted(dict.fromkeys(frame["attack"]), key=_is_control):
        cells = [found.get((attack, name)) for name in attributions]
        texts.append(
            [attack, *(f"{SPEARMAN.show(row)} ({IOU.show(row)})" if row else "" for row in cells)]
        )
        values.append([attack, *(row["spearman"] if row else None for row in cells)])
    return View(columns, texts, shift.note, values=values)


def _is_control(attack: str) -> bool:
    return attack in methods("attack") and get(attack).tags.control
