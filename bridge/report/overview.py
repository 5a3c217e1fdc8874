"""What stands on the first screen: how right, the verdicts, what attacks leave, one image's row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.record.record import Record
from bridge.report.content import CHANGED
from bridge.report.drawings import bars, chart, percent
from bridge.report.figures import kept, robust_accuracy
from bridge.report.pictures import Row
from bridge.tables import View, epsilon_text, records, stated

TILES = 4  # of attacks, beside the one of clean images
DEEP = 14  # methods below one another, before a second block begins beside them
# In pixels: the room for blocks beside the curves, a block's names, one of its columns.
WIDE, NAMES, SIGN = 1100, 200, 33
BLOCKS = 3
WORDS = 5  # columns of verdicts that fit in words; more are signs
PICTURES = 6  # maps of the image that is shown


@dataclass(frozen=True)
class Tile:
    """One number in large, and what it is of."""

    number: str
    what: str


def accuracies(run: Record) -> list[Tile]:
    """How many images are right before any attack, and after the strongest of each size."""
    found = []
    if run.right is not None:
        correct, images = run.right
        said = f"right before any attack: {correct}/{images}"
        found.append(Tile(percent(correct / images), said))
    return found + tiles(_worst(run), "right" if run.labelled else "keep their class")


def tiles(worst: Mapping[tuple[str | None, float], tuple[float, str]], what: str) -> list[Tile]:
    """By norm and size the share that is left and what left it: the ends of each norm's sizes."""
    norms = list(dict.fromkeys(norm for norm, _ in worst))
    sizes = {norm: sorted(e for of, e in worst if of == norm) for norm in norms}
    # The largest come first, should not all have room.
    ends = [(n, sizes[n][-1]) for n in norms] + [(n, sizes[n][0]) for n in norms]
    chosen = list(dict.fromkeys(ends))[:TILES]
    found = []
    for norm, epsilon in sorted(chosen, key=lambda key: (norms.index(key[0]), key[1])):
        share, by = worst[norm, epsilon]
        size = "of any size" if math.isinf(epsilon) else f"at {epsilon_text(epsilon, norm)}"
        found.append(Tile(percent(share), f"{what} under {by} {size}"))
    return found


def _worst(run: Record) -> dict[tuple[str | None, float], tuple[float, str]]:
    """By norm and size the share that the strongest attack leaves, and its name.

    Of those that ran on all images. Attacks that look for the size by themselves (inf) count only
    where there are no others.
    """
    found: dict[tuple[str | None, float], tuple[float, str]] = {}
    rows = records(run.attacks)
    images = max((row["images"] for row in rows), default=0)
    for row in rows:
        epsilon = stated(row["epsilon"])
        if row["images"] < images or not row["correct"] or epsilon == 0:
            continue
        key = (row["norm"], math.inf if epsilon is None else epsilon)
        found[key] = min(found.get(key, (math.inf, "")), (_left(row), row["method"]))
    sized = {key: value for key, value in found.items() if not math.isinf(key[1])}
    return sized or found


def _left(row: Mapping[str, Any]) -> float:
    """The share of all images that are right, and still are after an attack."""
    return float(row["correct"] / row["images"] * (1 - row["success"]))


def verdicts(view: View) -> dict[str, Any]:
    """The verdicts of the agreement's view: methods x implementations, in blocks side by side.

    Where there are more methods than have room, those that something differs of come first.
    """
    places = [j for j, column in enumerate(view.columns) if j and not column.numeric]
    rows = [
        (texts[0], [(texts[j], marks[j]) for j in places])
        for texts, marks in zip(view.rows, view.marks, strict=True)
    ]
    beside = min(BLOCKS, max(1, WIDE // (NAMES + SIGN * len(places))))
    room, left = DEEP * beside, 0
    if len(rows) > room:
        rows.sort(key=lambda row: not any(mark in ("differs", "failed") for _, mark in row[1]))
        rows, left = rows[:room], len(rows) - room
    count = -(-len(rows) // DEEP)
    deep = -(-len(rows) // max(count, 1))
    return {
        "names": [view.columns[j].title for j in places],
        "blocks": [rows[i * deep : (i + 1) * deep] for i in range(count)],
        "signs": len(places) * count > WORDS,
        "words": list(dict.fromkeys(mark for _, line in rows for _, mark in line if mark)),
        "left": left,
    }


def remaining(run: Record) -> dict[str, Any]:
    """Accuracy over epsilon where there are several; bars of what each attack leaves otherwise."""
    found = robust_accuracy(run)
    if any(len(points) > 2 for points in found.values()):
        return {"curves": _curves(run)}
    left: dict[str, float] = {}
    for row in records(run.attacks):
        if row["correct"]:  # the first of each attack and size gave the results
            size = epsilon_text(row["epsilon"], row["norm"])
            left.setdefault(f"{row['method']}, {size}", _left(row))
    return {"bars": bars(kept(run), left)} if left else {}


def _curves(run: Record) -> list[dict[str, Any]]:
    """Robust accuracy over epsilon, a chart a norm."""
    found = robust_accuracy(run)
    charts = []
    for norm in dict.fromkeys(norm for norm, _ in found):
        of_norm = {method: points for (of, method), points in found.items() if of == norm}
        charts.append(chart(kept(run), norm, of_norm))
    return charts


def lead(rows: Sequence[Row]) -> Row | None:
    """The image that most attacks fooled, with some maps and the first attack that did."""
    if not rows:
        return None
    row = max(rows, key=lambda row: len(row.fooled_by))  # the first of several
    attacks = [*row.fooled_by, *(p.name for p in row.pictures if p.kind == "attack")]
    maps = [p for p in row.pictures if p.kind == "map"][:PICTURES]
    pictures = [p for p in row.pictures if p.kind == "image" or p in maps or p.name in attacks[:1]]
    return replace(row, pictures=tuple(pictures))


def told_apart(names: Iterable[str], marks: Sequence[Sequence[str]]) -> str:
    """Several runs in one sentence: in how many rows of `side_by_side` they differ."""
    said, differing = ", ".join(names), sum(CHANGED in row for row in marks)
    if not differing:
        return f"{said}: the same verdicts and success in all {len(marks)} rows."
    return f"{said}: different verdicts or success in {differing} of {len(marks)} rows."
