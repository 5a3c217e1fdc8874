"""The page: one HTML file with everything in it, that runs nothing from elsewhere and shows all text as text."""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import version
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from bridge import tables
from bridge.compare import Comparison
from bridge.report.figures import robust_accuracy, similarity_matrix
from bridge.report.pictures import gallery
from bridge.report.text import card, reproduce, verdict_sentence

ORDER = ("failed", "differs", "rounding", "equal")


def page(runs: Mapping[str, Comparison], *, title: str | None = None, metrics: Mapping[str, pd.DataFrame] | None = None) -> str:
    """The whole page as text. Everything that comes from outside (names, paths, exception texts) is escaped."""
    files = resources.files("bridge.report")
    style, script = ((files / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8")), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"epsilon": lambda row: tables.epsilon_text(row["epsilon"], row.get("norm")), "number": _number}
    return environment.get_template("page.html").render(
        title=title or "Attributions and attacks, cross-checked", version=version("gradbridge"), runs=[
            {"name": name, "id": f"run{index}", **_run(run)} for index, (name, run) in enumerate(runs.items())
        ],
        side_by_side=_side_by_side(runs) if len(runs) > 1 else None, metrics=metrics or {},
        # Only what stands here verbatim may style or run, and nothing may be fetched.
        style=Markup(style), script=Markup(script), style_hash=_hash(style), script_hash=_hash(script),
    )  # fmt: skip


def fragment(run: Comparison) -> str:
    """A short table for notebooks: the verdict, and methods by implementations."""
    matrix = run.verdicts().reset_index()
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in matrix.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>" for row in matrix.itertuples(index=False)
    )
    sentence = html.escape(verdict_sentence(run))
    return f"<div><p><strong>{sentence}</strong></p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _number(value: Any, form: str = ".1e") -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else format(value, form)


def _run(run: Comparison) -> dict[str, Any]:
    """Everything that the page shows of one run."""
    norms = dict(zip(run.attacks["method"], run.attacks["norm"], strict=True))
    rows = list(gallery(run))
    return {
        "verdict": verdict_sentence(run), "card": card(run), "reproduce": reproduce(run), "matrix": _matrix(run),
        "worst": _worst(run), "runtime": _runtime(run, norms), "together": run.manifest.get("together") or {},
        "attacks": _records(run.attacks, norms), "curves": _curves(run), "similarity": _similarity(run), "shift": _shift(run),
        "failures": _records(run.failures, {}), "gallery": rows, "classes": sorted({row.label for row in rows}),
        "attack_names": list(dict.fromkeys(run.attacks["method"])),
        "map_names": list(dict.fromkeys(p.name for row in rows[:1] for p in row.pictures if p.kind == "map")),
    }  # fmt: skip


def _records(frame: pd.DataFrame, norms: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"norm": norms.get(row.get("method")), **row} for row in frame.to_dict("records")]


def _matrix(run: Comparison) -> dict[str, Any]:
    """Methods x implementations: the verdict, and what was measured."""
    verdicts = run.verdicts()
    cells = {}
    for (method, implementation), rows in run.agreement.groupby(["method", "implementation"], sort=False):
        worst = rows.loc[rows["gap"].fillna(math.inf).idxmax()]
        cells[method, implementation] = {
            "gap": worst["gap"], "gap_float32": worst["gap_float32"], "noise": worst["noise"], "images": int(worst["images"]),
            "cause": worst["cause"],
        }  # fmt: skip
    return {
        "implementations": list(verdicts.columns),
        "rows": [
            {"method": method, "cells": [
                {"verdict": verdicts.loc[method, i], **cells.get((method, i), {})} for i in verdicts.columns
            ]} for method in verdicts.index
        ],
    }  # fmt: skip


def _worst(run: Comparison) -> list[dict[str, Any]]:
    """The disagreements, worst first."""
    found = run.agreement[run.agreement["verdict"].isin(["differs", "failed"])]
    norms = dict(zip(run.attacks["method"], run.attacks["norm"], strict=True))
    return _records(found.sort_values("gap", ascending=False, na_position="first"), norms)


def _runtime(run: Comparison, norms: Mapping[str, Any]) -> list[dict[str, Any]]:
    """With each cell's share of the slowest and its ratio to the fastest of the same method and epsilon."""
    frame = run.runtime
    if not len(frame):
        return []
    fastest = frame.groupby(["method", frame["epsilon"].fillna(-1)])["seconds"].transform("min")
    slowest = frame.groupby(["method", frame["epsilon"].fillna(-1)])["seconds"].transform("max")
    return _records(frame.assign(to_fastest=frame["seconds"] / fastest, share=frame["seconds"] / slowest), norms)


def _curves(run: Comparison) -> list[dict[str, Any]]:
    """Robust accuracy over epsilon, one chart a norm, in the coordinates of a 320 x 160 drawing."""
    found = robust_accuracy(run)
    charts = []
    for norm in dict.fromkeys(norm for norm, _ in found):
        curves = {method: points for (of, method), points in found.items() if of == norm}
        largest = max(e for points in curves.values() for e, _ in points) or 1.0
        charts.append({
            "norm": norm, "largest": tables.epsilon_text(largest, norm), "curves": [
                {"method": method, "line": " ".join(f"{40 + 270 * e / largest:.1f},{140 - 120 * a:.1f}" for e, a in points),
                 "points": [(40 + 270 * e / largest, 140 - 120 * a, tables.epsilon_text(e, norm), a) for e, a in points]}
                for method, points in curves.items()
            ],
        })  # fmt: skip
    return charts


def _similarity(run: Comparison) -> dict[str, Any] | None:
    if not len(run.similarity):
        return None
    names, matrix = similarity_matrix(run)
    return {"names": names, "rows": [(name, [(v, _bucket(v)) for v in row]) for name, row in zip(names, matrix, strict=True)]}


def _bucket(value: float) -> str:
    """A colour class: a tenth of the scale from -1 to 1."""
    return "none" if math.isnan(value) else f"s{min(9, max(0, int((value + 1) * 5)))}"


def _shift(run: Comparison) -> dict[str, Any] | None:
    """Attacks x attributions, the uniform noise last: it is the control."""
    if not len(run.shift):
        return None
    methods = list(dict.fromkeys(run.shift["method"]))
    attacks = sorted(dict.fromkeys(run.shift["attack"]), key=lambda name: name.startswith("uniform_noise"))
    found = {(r.attack, r.method): (r.spearman, r.top10_iou) for r in run.shift.itertuples()}
    unknown = math.nan, math.nan
    cells = {key: (*pair, _bucket(pair[0])) for key, pair in found.items()}
    rows = [(attack, [cells.get((attack, method), (*unknown, "none")) for method in methods]) for attack in attacks]
    return {"methods": methods, "rows": rows}


def _side_by_side(runs: Mapping[str, Comparison]) -> dict[str, Any]:
    """A row for each method, implementation and epsilon of any run: verdict, time and success in each; differences marked."""
    keys: dict[tuple[str, str, float | None], None] = {}
    found: dict[str, dict[Any, dict[str, Any]]] = {}
    norms: dict[str, Any] = {}
    for name, run in runs.items():
        norms |= dict(zip(run.attacks["method"], run.attacks["norm"], strict=True))
        cells: dict[Any, dict[str, Any]] = {}
        for table, column in ((run.runtime, "seconds"), (run.agreement, "verdict"), (run.attacks, "success")):
            for row in table.to_dict("records"):
                epsilon = None if row["epsilon"] is None or math.isnan(row["epsilon"]) else row["epsilon"]
                key = row["method"], row["implementation"], epsilon
                cells.setdefault(key, {})[column] = row[column]
                keys[key] = None
        found[name] = cells
    rows = []
    for method, implementation, epsilon in keys:
        cells_ = [found[name].get((method, implementation, epsilon), {}) for name in runs]
        verdicts = {cell.get("verdict", "") for cell in cells_}
        successes = {_number(cell.get("success"), ".0%") for cell in cells_}
        rows.append({
            "method": method, "implementation": implementation,
            "epsilon": tables.epsilon_text(epsilon, norms.get(method)) if method in norms else "", "cells": cells_,
            "changed": len(verdicts) > 1 or len(successes) > 1,
        })  # fmt: skip
    return {"names": list(runs), "rows": rows}
