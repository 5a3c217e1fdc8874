"""Class by class: accuracy, clean and under each attack, with Wilson's intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.statistics.robustness import CELL, accuracies
from bridge.tables import EPSILON, Column, Frames, View, epsilon_text, records
from bridge.tables.study._summary import (
    IMAGES_COLUMN,
    METHOD,
    Results,
    interval,
    summary_table,
)
from bridge.tables.study.accuracy import CLEAN

MOST = 20  # classes that people see: of more, those with the lowest and the highest accuracy

classes = summary_table(
    "classes",
    heading="Class by class",
    columns=[
        Column("label", format=".0f", key=True),
        Column("class", key=True),
        METHOD,
        Column("norm", key=True),
        EPSILON,
        IMAGES_COLUMN,
        Column("right", format=".0f", low=0, key=True),
        Column("fooled", format=".0f", low=0, key=True),
        *interval("accuracy", "accuracy", ".1%", better="higher", span=(0, 1), low=0, high=1),
    ],
    note="Accuracy of each class with Wilson's 95 % interval.",
    order=66,
)


@classes.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row a class of the clean images, and a row a class, attack and epsilon."""
    images = results.images.sort_values("label", kind="stable")
    # Clean images are what an attack without effect leaves.
    clean = images[["id"]].assign(method=CLEAN, norm="", epsilon=0.0, fooled=False)
    attacks = pd.concat(
        [clean, results.attacks[["id", "method", "norm", "epsilon", "fooled"]]], ignore_index=True
    )
    attacks["label"] = attacks["id"].map(results.labels)
    found = accuracies(images, attacks, ["label", *CELL])
    for row in records(found.sort_values("label", kind="stable")):
        yield {**row, "class": results.class_name(int(row["label"]))}


@classes.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Classes x (clean, and of each norm the attack and size that fool closest to half)."""
    shown = [(CLEAN, "", "clean")]
    overall = frames.get("accuracy")
    if overall is not None:
        sized = overall[overall["epsilon"].gt(0) & overall["success"].notna()]
        for norm, cells in sized.groupby("norm", sort=False):
            row = sized.loc[(cells["success"] - 0.5).abs().idxmin()]
            size = epsilon_text(row["epsilon"], str(norm))
            shown.append((row["method"], row["epsilon"], f"{row['method']} {size}"))
    column = classes["accuracy"]
    columns = [Column("class"), classes["images"]]
    texts: list[list[str]] = []
    values: list[list[Any]] = []
    for label, of_class in frame.groupby("label"):
        cells = [_cell(of_class, method, epsilon) for method, epsilon, _ in shown]
        name, n = of_class["class"].iloc[0], cells[0]["images"] if cells[0] else 0
        texts.append([f"{name}", f"{n}", *(column.show(c) if c else "" for c in cells)])
        values.append([int(label), n, *(c["accuracy"] if c else None for c in cells)])
    for _, _, heading in shown:
        columns.append(
            Column(heading, heading, format=".1%", span=column.span, better=column.better)
        )
    clean = [row[2] or 0.0 for row in values]
    order = sorted(range(len(texts)), key=clean.__getitem__)
    note = classes.note
    if len(order) > MOST:
        half = MOST // 2
        note += f" The {half} lowest and the {half} highest of {len(order)} classes."
        order = order[:half] + order[-half:]
    else:
        order = list(range(len(texts)))
    return View(columns, [texts[i] for i in order], note, values=[values[i] for i in order])


def _cell(of_class: pd.DataFrame, method: str, epsilon: float | str) -> dict[str, Any]:
    """The row of a method at a size; nothing where it has none."""
    found = of_class[of_class["method"] == method]
    if method != CLEAN:
        found = found[found["epsilon"] == epsilon]
    return records(found.head(1))[0] if len(found) else {}
