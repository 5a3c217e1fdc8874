"""What a report says of a run, whatever it is written in: verdict, card, tables, the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bridge.record.record import Record
from bridge.tables import (
    Column,
    Key,
    Table,
    View,
    epsilon_text,
    plain,
    records,
    stated,
    tables,
    unknown,
)
from bridge.tables.agreement import how_many, of_nothing

Metrics = Mapping[str, pd.DataFrame]


# What is explained and attacked: whether that are labels.
CLASSES = {True: "the labels of the images", False: "the model's own predictions"}


@dataclass(frozen=True)
class Section:
    """One table as it is shown: what people see of it, and every row where that is less."""

    name: str
    heading: str
    view: View
    every: View | None = None


def sections(run: Record) -> list[Section]:
    """The run's tables that have something to show, in their order."""
    return [_section(run, table, view) for table, view in run.views()]


def further(metrics: Metrics | None) -> list[Section]:
    """Tables that came with the call, every column as it is."""
    found = [(unknown(name, frame), frame) for name, frame in (metrics or {}).items()]
    return [Section(table.name, table.heading, table.view(frame)) for table, frame in found]


def _section(run: Record, table: Table, view: View) -> Section:
    rows, every = records(run.tables[table.name]), None
    if len(view.rows or view.remarks) < len(rows):
        every = plain(table.columns, [_with_norm(row, run.norms) for row in rows])
    return Section(table.name, table.heading, view, every)


def _with_norm(row: Mapping[str, Any], norms: Mapping[str, str | None]) -> dict[str, Any]:
    """A row with its attack's norm, so that its epsilon is written as people do."""
    return {"norm": norms.get(str(row.get("attack", row.get("method")))), **row}


def verdict_sentence(run: Record, most: int | None = None) -> str:
    """How many pairs agree; of what does not, on how many images, by how much and why.

    Where more than `most` do not, only the worst are named, and the others counted.
    """
    judged = run.agreement
    if not len(judged):
        return "Nothing to judge: no implementation besides the reference ran."
    wrong = judged[~judged["verdict"].isin(["equal", "rounding"])].sort_values(
        "gap", ascending=False, na_position="first"
    )
    wrong = wrong.drop_duplicates(["method", "implementation"])
    pairs = len(judged.drop_duplicates(["method", "implementation"]))
    text = f"{pairs - len(wrong)} of {pairs} pairs are equal to the reference or within rounding"
    if nothing := len(of_nothing(judged)):
        text += f", {nothing} of them over what is zero everywhere, which says nothing"
    for row in wrong.head(len(wrong) if most is None else most).itertuples():
        text += f"; {row.implementation}'s {row.method} "
        if row.verdict == "failed":
            text += "failed"
        else:
            cause = str(row.cause or "cause not recognised").partition(":")[0].partition(". ")[0]
            text += f"differs on {how_many(row.images)} by up to {row.gap:.1e}: {cause}"
    others = 0 if most is None else len(wrong) - most
    verb = "does" if others == 1 else "do"
    return text + (f"; {others} more {verb} not, named below." if others > 0 else ".")


def first_lines(run: Record, most: int | None = None) -> list[str]:
    """What a report begins with: is the run whole, the verdict, of which classes, how right.

    The verdict names no more than `most` disagreements.
    """
    known, verdict = run.preamble(), verdict_sentence(run, most)
    return [verdict, *known] if run.finished else [known[0], verdict, *known[1:]]


def card(run: Record) -> dict[str, str]:
    """What the run was made of: model, data, preprocessing, baselines, seed, device, versions."""
    m = run.manifest
    model, images, device = m["model"], m["images"], m["device"]
    data = m.get("data", {}).get("source", "given by the caller")
    baselines = {
        n: v["params"]["baseline"]
        for n, v in m.get("methods", {}).items()
        if "baseline" in v.get("params", {})
    }
    mean, std = model.get("mean"), model.get("std")
    size = f"{model['parameters']:,} parameters, {model['dtype']}"
    processor = f"{device['type']}, {device['name']}, {device['threads']} thread(s)"
    return {
        "Model": f"{model['name']} ({model['class']}, {size})",
        "Data": f"{data}: {len(run.x)} images of {' x '.join(map(str, images['shape'][1:]))}",
        "Preprocessing": "none" if mean is None else f"(x - {_short(mean)}) / {_short(std)}",
        "Pixel bounds": f"[{model['bounds'][0]:g}, {model['bounds'][1]:g}]",
        "Grad-CAM layer": str(model.get("layer")),
        "Baselines": ", ".join(f"{k} {v}" for k, v in baselines.items()) or "none",
        "Classes": CLASSES[run.labelled],
        "Seed": str(m.get("seed")),
        "Device": f"{processor}, {device['platform']}",
        "Versions": ", ".join(f"{k} {v}" for k, v in m["versions"].items() if v),
        "Made": str(m["created"]),
    }


def _short(values: Any) -> str:
    return ", ".join(f"{v:.4g}" for v in values) if isinstance(values, list) else str(values)


def reproduce(run: Record) -> str:
    """The command that makes this run again, or the call."""
    given = run.manifest
    if given.get("command"):
        return str(given["command"])
    classes = "labels" if run.labelled else "target='predicted'"
    return (
        f"bridge.compare(model, x, {classes}, methods={list(given.get('methods', {}))}, "
        f"implementations={given.get('implementations')}, repeats={given.get('repeats')}, "
        f"judged={_judged(given)}, seed={given.get('seed')})"
    )


def _judged(given: Mapping[str, Any]) -> str:
    """How many images were judged, as `compare` is told."""
    places = given.get("judged", {}).get("images")
    return "'all'" if places is None else str(len(places))


# What several runs are held against each other by, and which of it makes a row a difference.
BESIDE = (("runtime", "seconds"), ("agreement", "verdict"), ("attacks", "success"))
TELLING = ("verdict", "success")
CHANGED = "changed"


def side_by_side(runs: Mapping[str, Record]) -> Section:
    """A row a method, implementation and epsilon of any run: time, verdict and success in each.

    Where verdict or success differ, the row says so, and the cell that says it is marked "changed".
    """
    beside = [tables()[table][column] for table, column in BESIDE]
    columns = [Column("method"), Column("by"), Column("epsilon"), Column("differs")]
    for name in runs:
        columns += [replace(c, heading=f"{name}: {c.heading or c.name}") for c in beside]
    norms = {method: norm for run in runs.values() for method, norm in run.norms.items()}
    texts, values, marks = [], [], []
    for (method, implementation, epsilon), cells in _cells(runs).items():
        size = epsilon_text(epsilon, norms[method]) if method in norms else ""
        said = {
            (name, column.name): column.show({column.name: cells.get((name, column.name))})
            for name in runs
            for column in beside
        }
        differ = any(len({said[name, column] for name in runs}) > 1 for column in TELLING)
        texts.append([method, implementation, size, "differs" if differ else "", *said.values()])
        values.append([None, None, epsilon, None, *(cells.get(key) for key in said)])
        marks.append(["", "", "", CHANGED if differ else "", *("" for _ in said)])
    note = "Rows that are marked differ in their verdict or in how many images were fooled."
    return Section("side", "The runs side by side", View(columns, texts, note, (), marks, values))


def _cells(runs: Mapping[str, Record]) -> dict[Key, dict[tuple[str, str], Any]]:
    """What each run has of each key, by run and column."""
    found: dict[Key, dict[tuple[str, str], Any]] = {}
    for name, run in runs.items():
        for table, column in BESIDE:
            for row in records(run.tables[table]):
                key = row["method"], row["implementation"], stated(row["epsilon"])
                found.setdefault(key, {})[name, column] = row[column]
    return found
