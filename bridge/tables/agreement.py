"""Agreement: is each implementation the same method as our reference?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bridge.metrics.agreement import ORDER, ZERO
from bridge.tables import EPSILON, Column, Evidence, Frames, View, records, table

GAPS = (
    Column("gap", heading="gap float64", format=".1e", better="lower", low=0),
    Column("gap_float32", heading="gap float32", format=".1e", better="lower", low=0),
    Column("noise", heading="noise float32", format=".1e", low=0),
)
GAP, GAP32, NOISE = GAPS

agreement = table(
    "agreement",
    heading="Agreement with our reference",
    columns=[
        Column("method", key=True),
        Column("implementation", heading="by", key=True),
        EPSILON,
        Column("verdict", choices=ORDER, key=True),
        GAP,
        Column("verdict_float32", heading="verdict float32", choices=ORDER),
        GAP32,
        NOISE,
        Column("images", format=".0f", better="lower", low=0, key=True),
        Column("cause", key=True),
    ],
    note=(
        "Judged in float64. Gap: largest difference from our reference; noise: the reference's own "
        "float32 rounding. Maps: relative to each image's largest value. Images: relative to the "
        "range of pixel values."
    ),
    order=10,
)


@agreement.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """A row for each method, implementation and epsilon (see `bridge.core.types.Agreement`)."""
    for judged in evidence.judged:
        key = {"method": judged.method, "implementation": judged.implementation}
        measured = {k: v for k, v in vars(judged.agreement).items() if k != "direction"}
        yield {**key, "epsilon": judged.epsilon, **measured}


@agreement.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Methods x implementations with the largest gaps, and a remark a disagreement."""
    matrix = verdict_matrix(frame, frames.get("failures"))
    worst = frame.groupby("method", sort=False)[[c.name for c in GAPS]].max()
    columns = [Column("method"), *(Column(name, heading=name) for name in matrix.columns), *GAPS]
    nothing = dict.fromkeys(worst, float("nan"))
    said = _details(frame)
    texts, marks, values, details = [], [], [], []
    for method in matrix.index:
        verdicts = list(matrix.loc[method])
        gaps = worst.loc[method].to_dict() if method in worst.index else nothing
        texts.append([method, *verdicts, *(column.show(gaps) for column in GAPS)])
        marks.append(["", *verdicts, *("" for _ in GAPS)])
        values.append([method, *verdicts, *(gaps[column.name] for column in GAPS)])
        details.append(
            ["", *(said.get((method, name), "") for name in matrix.columns), *("" for _ in GAPS)]
        )
    return View(columns, texts, agreement.note, _remarks(frame), marks, values, details)


def _details(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """What was measured of each method by each implementation, where the gap is largest."""
    ranked = frame.sort_values("gap", ascending=False, na_position="first", kind="stable")
    found = {}
    for row in records(ranked.drop_duplicates(["method", "implementation"])):
        gap, gap32, noise = (column.show(row) or "unknown" for column in GAPS)
        text = f"gap {gap} in float64, {gap32} in float32; noise floor {noise}"
        if row["verdict"] not in ("equal", "rounding"):
            text += f"; {row['images']} images"
        if row["cause"]:
            text += f": {row['cause']}"
        found[row["method"], row["implementation"]] = text
    return found


def how_many(images: int) -> str:
    """So many images, in words.

    >>> how_many(1), how_many(2)
    ('1 image', '2 images')
    """
    return f"{images} image" + "s" * (images != 1)


def _remarks(frame: pd.DataFrame) -> list[str]:
    """The disagreements, worst first, each implementation once."""
    found = frame[frame["verdict"] == "differs"].sort_values("gap", ascending=False)
    by_method: dict[str, list[str]] = {}
    for method, implementation in of_nothing(frame):
        by_method.setdefault(method, []).append(implementation)
    return [
        f"{row['implementation']}'s {row['method']} differs on {how_many(row['images'])} by up to "
        f"{GAP.show(row)}: {row['cause'] or 'cause not recognised'}."
        for row in records(found.drop_duplicates(["method", "implementation"]))
    ] + [
        f"{method} ({', '.join(names)}): {frame.loc[frame['method'] == method, 'cause'].iloc[0]}."
        for method, names in by_method.items()
    ]


def verdict_matrix(frame: pd.DataFrame, failures: pd.DataFrame | None = None) -> pd.DataFrame:
    """Methods x implementations: the worst verdict over epsilons, "unsupported", or ""."""
    cells: dict[tuple[str, str], str] = {}
    if failures is not None:
        unsupported = failures[failures["stage"] == "unsupported"]
        for method, implementation in unsupported[["method", "implementation"]].to_numpy():
            cells[method, implementation] = "unsupported"
    for row in records(frame):
        key = row["method"], row["implementation"]
        before = cells.get(key)
        if before not in ORDER or ORDER.index(row["verdict"]) > ORDER.index(before):
            cells[key] = row["verdict"]
    methods = list(dict.fromkeys(method for method, _ in cells))
    implementations = list(dict.fromkeys(implementation for _, implementation in cells))
    verdicts = [[cells.get((m, i), "") for i in implementations] for m in methods]
    return pd.DataFrame(verdicts, index=pd.Index(methods, name="method"), columns=implementations)


def of_nothing(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The (method, implementation) that agree, but over nothing: zero maps, unchanged images."""
    said = frame.assign(nothing=[str(cause).startswith(ZERO) for cause in frame["cause"]])
    every = said.groupby(["method", "implementation"], sort=False)["nothing"].all()
    return [key for key, nothing in every.items() if nothing]


def headline(frame: pd.DataFrame) -> str:
    """The verdict in one sentence: how many pairs agree, and which do not."""
    if not len(frame):
        return "Nothing to judge: no implementation besides the reference ran."
    matrix = verdict_matrix(frame)
    worst = {(i, m): matrix.loc[m, i] for m in matrix.index for i in matrix if matrix.loc[m, i]}
    agree = sum(verdict in ("equal", "rounding") for verdict in worst.values())
    text = f"{agree} of {len(worst)} pairs agree with our reference (equal, or within rounding)"
    nothing = len(of_nothing(frame))
    text += (
        f"; {nothing} of them over what is zero everywhere, which says nothing." if nothing else "."
    )
    for verdict, one, many in (("differs", "differs", "differ"), ("failed", "failed", "failed")):
        names = [f"{i}'s {m}" for (i, m), found in worst.items() if found == verdict]
        if names:
            text += f" {'; '.join(names)} {one if len(names) == 1 else many}."
    return text
