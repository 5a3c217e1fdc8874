"""Metrics: how good are the maps, by the metrics that were asked for, beside maps of no model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from torch import Tensor

from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.metrics.ranking import ranked
from bridge.metrics.registry import get
from bridge.metrics.registry import metrics as known
from bridge.tables import Column, Evidence, Frames, View, records, table

WAY = {"lower": " ↓", "higher": " ↑", "neither": ""}

metrics = table(
    "metrics",
    heading="Metrics of the maps",
    columns=[
        Column("method", key=True),
        Column("control", choices=("", "control")),
        Column("metric", key=True),
        Column("image", number=True, low=0),
        Column("value", format=".3g"),
        Column("forwards", number=True, low=0),
        Column("backwards", number=True, low=0),
        Column("seconds", number=True, low=0),
    ],
    note=(
        "Means over the images; ↓ less, ↑ more is better. A control looks at no model: a method "
        "that does not beat it says nothing."
    ),
    order=45,
    long=True,
)


@metrics.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Each metric of each attribution's map on all images, and of the controls' maps."""
    if not evidence.metrics:
        return
    for method, maps in evidence.maps().items():
        more = {"explain": (method.name, evidence.params.get(method.name, {}))}
        yield from _measured(evidence, method.name, "", maps.to(evidence.x), more)
    for name, maps in baseline_maps(evidence.x, seed=evidence.seed).items():
        yield from _measured(evidence, name, "control", maps, {})


def _measured(
    evidence: Evidence, method: str, control: str, maps: Tensor, more: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row a metric and image. What cannot be had of a method is a failure."""
    for name, params in evidence.metrics.items():
        metric = get(name)
        needs_explainer = "explain" in metric.needs
        if control and (needs_explainer or "full" in metric.needs):
            continue  # a map of no model explains no other image, and has one channel
        try:
            values = measure(
                name, evidence.model, evidence.x, evidence.target, maps,
                seed=evidence.seed, **(more if needs_explainer else {}), **params,
            )  # fmt: skip
        except Exception as error:
            evidence.failed(method, "", f"metric {name}", error)
            continue
        for index, value in enumerate(values.tolist()):
            yield {
                "method": method, "control": control, "metric": name,
                "image": index, "value": value,
                "forwards": values.forwards / len(values),
                "backwards": values.backwards / len(values),
                "seconds": values.seconds / len(values),
            }  # fmt: skip


@metrics.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Methods x metrics, the best mean rank first, with how far the metrics disagree about it."""
    measured = frame.assign(control=frame["control"] != "", error="")
    ours = measured[measured["metric"].isin(known())]
    order = ranked(ours) if len(ours) else pd.DataFrame()
    names = list(dict.fromkeys(frame["metric"]))
    columns = [
        Column("method"),
        Column("rank", heading="mean rank", format=".1f", better="lower"),
        Column("disagreement", heading="+-", format=".1f"),
        *(Column(name, heading=_heading(name), format=".3g") for name in names),
    ]
    means = frame.groupby(["method", "metric"])["value"].mean()
    texts, values = [], []
    for row in records(order.reset_index()):
        method = row["method"]
        shown = f"{method} (control)" if row["control"] else method
        found = {
            "method": shown, "rank": row["mean_rank"], "disagreement": row["disagreement"],
            **{name: float(means.get((method, name), math.nan)) for name in names},
        }  # fmt: skip
        texts.append([column.show(found) for column in columns])
        values.append([found[column.name] for column in columns])
    undefined = int(frame["value"].isna().sum())
    why = "a map that is all zero, or no image near it that keeps its class"
    remarks = [f"{undefined} values are not defined ({why})."] if undefined else []
    return View(columns, texts, metrics.note + _cost(frame, frames), remarks, values=values)


def _cost(frame: pd.DataFrame, frames: Frames) -> str:
    """What the metrics cost an image, beside the methods; "" for older runs."""
    if "forwards" not in frame or not frame["forwards"].notna().any():
        return ""
    spent = ["forwards", "backwards", "seconds"]
    each = frame.groupby(["metric", "method"], sort=False)[spent].mean()
    texts = [
        f"{row['metric']} {_spent(row)}"
        for row in records(each.groupby("metric", sort=False).mean().reset_index())
    ]
    total = each.sum()
    text = f" Forwards/backwards of an image for a map: {', '.join(texts)}; for all maps "
    text += f"{_spent(total)} in {1000 * total['seconds']:.1f} ms"
    runtime = frames.get("runtime")
    if runtime is None or not len(runtime):
        return f"{text}."
    quickest = runtime.groupby(["method", "epsilon"], dropna=False)["seconds"].idxmin()
    least = runtime.loc[quickest]
    methods = least[spent].div(least["images"], axis=0).sum()
    text += f"; the methods themselves, by what is quickest, {_spent(methods)}"
    return f"{text} in {1000 * methods['seconds']:.1f} ms."


def _spent(row: Any) -> str:
    return f"{row['forwards']:.0f}/{row['backwards']:.0f}"


def _heading(name: str) -> str:
    return name.replace("_", " ") + (WAY[get(name).better] if name in known() else "")
