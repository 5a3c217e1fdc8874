"""Similarity: do two methods point at the same pixels?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.metrics import similarity as measures
from bridge.tables import ROUNDING, Column, Evidence, Frames, View, plain, records, table

MEASURES = {"spearman": "", "top10_iou": "top-10% iou", "ssim": "", "cosine": ""}
MOST = 10  # pairs that people see; of more, the most and the least similar

similarity = table(
    "similarity",
    heading="Similarity between methods",
    columns=[
        Column("method_a", key=True),
        Column("method_b", key=True),
        *(
            Column(name, heading, format=".2f", span=(-1, 1), low=-1 - ROUNDING, high=1 + ROUNDING)
            for name, heading in MEASURES.items()
        ),
    ],
    note="Do two methods point at the same pixels? 1 is the same map; mean over the images.",
    order=40,
)


@similarity.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Every pair of attributions, by the reference."""
    maps = {m.name: measures.importance(a, evidence.size) for m, a in evidence.maps().items()}
    ranked = {name: measures.ranks(map_) for name, map_ in maps.items()}
    for a, b in itertools.combinations(maps, 2):
        yield {
            "method_a": a,
            "method_b": b,
            "spearman": float(measures.spearman(ranked[a], ranked[b]).nanmean()),
            "top10_iou": float(measures.top_k_iou(maps[a], maps[b]).nanmean()),
            "ssim": float(measures.ssim(maps[a], maps[b]).nanmean()),
            "cosine": float(measures.cosine(maps[a], maps[b]).nanmean()),
        }


@similarity.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """The pairs, most similar first."""
    ranked = frame.sort_values("spearman", ascending=False, kind="stable")
    half = MOST // 2
    few = len(ranked) <= MOST
    shown = ranked if few else pd.concat([ranked.head(half), ranked.tail(half)])
    note = similarity.note
    if not few:
        note += f" The {half} most and {half} least similar of {len(ranked)} pairs."
    pairs = shown.assign(pair=shown["method_a"] + " ~ " + shown["method_b"])
    return plain([Column("pair"), *similarity.columns[2:]], records(pairs), note)
