"""Runtime: seconds of each implementation, and images through the model."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bridge.tables import EPSILON, Column, Evidence, Frames, View, table

SECONDS = Column(
    "seconds",
    heading="time",
    unit="ms",
    format=".1f",
    scale=1000,
    better="lower",
    low=0,
    key=True,
)
FORWARDS = Column("forwards", heading="F", format=".0f", better="lower", low=0, key=True)
BACKWARDS = Column("backwards", heading="B", format=".0f", better="lower", low=0, key=True)

runtime = table(
    "runtime",
    heading="Runtime",
    columns=[
        Column("method", key=True),
        Column("implementation", heading="by", key=True),
        EPSILON,
        SECONDS,
        Column("ratio", format=".2f", better="lower", low=0),
        Column("warm_up", heading="first", unit="ms", format=".1f", scale=1000, low=0),
        Column("repeats", format=".0f", low=1, key=True),
        FORWARDS,
        BACKWARDS,
        Column("images", format=".0f", low=0),
    ],
    note=(
        "Median times after a warm-up; ratio to the reference. F and B: images through the model "
        "forwards and backwards; windows of which only what changes is computed are not counted."
    ),
    order=30,
)


@runtime.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """A row for each timed cell; `ratio` is to the reference of the same method and epsilon."""
    timed = {c.key: statistics.median(c.seconds) for c in evidence.timed if c.seconds}
    for cell in evidence.timed:
        seconds = timed.get(cell.key)
        if seconds is None:
            continue
        reference = timed.get((cell.method.name, "reference", cell.epsilon))
        yield {
            "method": cell.method.name,
            "implementation": cell.implementation,
            "epsilon": cell.epsilon,
            "seconds": seconds,
            "ratio": seconds / reference if reference else float("nan"),
            "warm_up": cell.run.seconds,
            "repeats": len(cell.seconds),
            "forwards": cell.run.forwards,
            "backwards": cell.run.backwards,
            "images": len(evidence.batch(cell)[1]),
        }


@runtime.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Methods x implementations, summed over epsilons: milliseconds, then passes."""
    summed = frame.groupby(["method", "implementation"], sort=False)[
        ["seconds", "forwards", "backwards"]
    ].sum()
    implementations = list(dict.fromkeys(frame["implementation"]))
    columns = [
        Column("method"),
        *(replace(SECONDS, name=name, heading=name) for name in implementations),
        *(replace(FORWARDS, name=f"{name} F/B", heading="") for name in implementations),
    ]
    texts, marks, values = [], [], []
    for method in dict.fromkeys(frame["method"]):
        times, passes = [], []
        for name in implementations:
            known = (method, name) in summed.index
            row = summed.loc[(method, name)].to_dict() if known else {}
            times.append((SECONDS.show(row), row["seconds"]) if row else ("", None))
            counts = f"{FORWARDS.show(row)}/{BACKWARDS.show(row)}" if row else ""
            passes.append((counts, row["forwards"] + row["backwards"] if row else None))
        texts.append([method, *(text for text, _ in times + passes)])
        values.append([method, *(value for _, value in times + passes)])
        marks.append(["", *_fastest([value for _, value in times]), *("" for _ in passes)])
    return View(columns, texts, _note(frame), marks=marks, values=values)


def _fastest(seconds: Sequence[float | None]) -> list[str]:
    """The mark of the least of several times."""
    known = [value for value in seconds if value is not None]
    least = min(known) if len(known) > 1 else None
    return ["fastest" if value is not None and value == least else "" for value in seconds]


def _note(frame: pd.DataFrame) -> str:
    fewest, most = int(frame["repeats"].min()), int(frame["repeats"].max())
    count = str(most) if fewest == most else f"{fewest} to {most}"
    text = f"Median of {count} timed run{'s' * (most > 1)} after a warm-up"
    text += " (of slow ones the only run)" if fewest < most else ""
    if frame["images"].notna().all():
        text += f", on {frame['images'].max():.0f} images"
    text += ", summed over epsilons. F/B: images through the model forwards / backwards"
    if "fused" in set(frame["implementation"]):
        return f"{text} (without windows of which fused ones compute only what changes)."
    return f"{text}."


def one_plan(together: Mapping[str, Any]) -> str:
    """What a run recorded of all fused methods in one plan, as a remark; "" where it has none."""
    if not together:
        return ""
    text = (
        f"All {len(together['methods'])} fused methods in one plan: {together['seconds']:.2f} s, "
        f"{together['forwards']} / {together['backwards']} passes. One after another:"
    )
    alone = [
        f" {name} {sums['seconds']:.2f} s, {sums['forwards']:.0f} / {sums['backwards']:.0f}"
        for name, sums in together["one_after_another"].items()
    ]
    return text + ";".join(alone) + "."
