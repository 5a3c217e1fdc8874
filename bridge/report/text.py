"""A comparison as Markdown for a pull request, and as LaTeX tables (booktabs) for a paper."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bridge import tables
from bridge.compare import Comparison


def reproduce(run: Comparison) -> str:
    """The command that makes this run again, or the call."""
    command = run.manifest.get("command")
    if command:
        return str(command)
    given = run.manifest
    methods = list(given.get("methods", {}))
    return (
        f"bridge.compare(model, x, labels, methods={methods}, implementations={given.get('implementations')}, "
        f"repeats={given.get('repeats')}, seed={given.get('seed')})"
    )


def card(run: Comparison) -> dict[str, str]:
    """What the run was made of: model, data, preprocessing, bounds, baselines, seed, device, versions."""
    m = run.manifest
    model, images, device = m["model"], m["images"], m["device"]
    data = m.get("data", {}).get("source", "given by the caller")
    baselines = {n: v["params"]["baseline"] for n, v in m.get("methods", {}).items() if "baseline" in v.get("params", {})}
    mean, std = model.get("mean"), model.get("std")
    versions = ", ".join(f"{k} {v}" for k, v in m["versions"].items() if v)
    return {
        "Model": f"{model['name']} ({model['class']}, {model['parameters']:,} parameters, {model['dtype']})",
        "Data": f"{data}: {len(run.x)} images of {' x '.join(map(str, images['shape'][1:]))}",
        "Preprocessing": "none" if mean is None else f"(x - {_short(mean)}) / {_short(std)}",
        "Pixel bounds": f"[{model['bounds'][0]:g}, {model['bounds'][1]:g}]",
        "Grad-CAM layer": str(model.get("layer")),
        "Baselines": ", ".join(f"{k} {v}" for k, v in baselines.items()) or "none",
        "Seed": str(m.get("seed")),
        "Device": f"{device['type']}, {device['name']}, {device['threads']} thread(s), {device['platform']}",
        "Versions": versions,
        "Made": str(m["created"]),
    }


def _short(values: Any) -> str:
    return ", ".join(f"{v:.4g}" for v in values) if isinstance(values, list) else str(values)


def verdict_sentence(run: Comparison) -> str:
    """How many pairs agree; of what does not, on how many images, by how much and why."""
    judged = run.agreement
    if not len(judged):
        return tables.headline(judged)
    wrong = judged[~judged["verdict"].isin(["equal", "rounding"])].sort_values("gap", ascending=False, na_position="first")
    wrong = wrong.drop_duplicates(["method", "implementation"])
    pairs = len(judged.drop_duplicates(["method", "implementation"]))
    text = f"{pairs - len(wrong)} of {pairs} pairs are equal to the reference or within rounding"
    for row in wrong.itertuples():
        if row.verdict == "failed":
            text += f"; {row.implementation}'s {row.method} failed"
        else:
            cause = str(row.cause or "cause not recognised").partition(":")[0].partition(". ")[0]
            text += f"; {row.implementation}'s {row.method} differs on {row.images} images by up to {row.gap:.1e}: {cause}"
    return text + "."


def frames(run: Comparison) -> dict[str, pd.DataFrame]:
    """The tables as they are shown: epsilons and numbers as people write them."""
    norms = dict(zip(run.attacks["method"], run.attacks["norm"], strict=True))
    shown: dict[str, pd.DataFrame] = {}
    if len(run.agreement):
        shown["Agreement"] = tables.verdict_matrix(run.agreement, run.failures).reset_index()
    runtime = run.runtime.assign(
        epsilon=_epsilons(run.runtime["method"], run.runtime["epsilon"], norms),
        milliseconds=[f"{1000 * s:.1f}" for s in run.runtime["seconds"]],
        ratio=[_number(r, ".2f") for r in run.runtime["ratio"]],
    )  # fmt: skip
    if len(runtime):
        shown["Runtime"] = runtime[["method", "implementation", "epsilon", "milliseconds", "ratio", "forwards", "backwards"]]
    if len(run.attacks):
        attacks = run.attacks.assign(epsilon=_epsilons(run.attacks["method"], run.attacks["epsilon"], norms))
        for column, form in (("success", ".0%"), ("success_8bit", ".0%"), ("changed", ".0%"), ("linf", ".4f"), ("l2", ".3f")):
            attacks[column] = [_number(v, form) for v in attacks[column]]
        shown["Attacks"] = attacks[
            ["method", "implementation", "epsilon", "success", "success_8bit", "changed", "linf", "l2", "reasons"]
        ]
    for name, frame in (("Similarity", run.similarity), ("Shift", run.shift)):
        if len(frame):
            rounded = {c: [_number(v, ".2f") for v in frame[c]] for c in frame.columns if frame[c].dtype == float}
            if "epsilon" in rounded:
                rounded["epsilon"] = _epsilons(frame["attack"], frame["epsilon"], norms)
            shown[name] = frame.assign(**rounded)
    if len(run.failures):
        shown["Not available"] = run.failures
    return shown


def _epsilons(methods: pd.Series, epsilons: pd.Series, norms: Mapping[str, Any]) -> list[str]:
    pairs = zip(methods, epsilons, strict=True)
    return [tables.epsilon_text(epsilon, norms[method]) if method in norms else "" for method, epsilon in pairs]


def _number(value: float, form: str) -> str:
    return "" if value is None or math.isnan(value) else format(value, form)


def markdown(
    runs: Mapping[str, Comparison], pictures: Sequence[Path], title: str | None, metrics: Mapping[str, pd.DataFrame] | None
) -> str:
    """Verdict, card, tables, pictures and how to reproduce them."""
    lines = [f"# {title or 'Comparison of attributions and attacks'}", ""]
    for name, run in runs.items():
        lines += [] if len(runs) == 1 else [f"## {_escaped(name)}", ""]
        lines += [f"**{_escaped(verdict_sentence(run))}**", ""]
        lines += [f"- {key}: {_escaped(value)}" for key, value in card(run).items()] + [""]
        for heading, frame in {**frames(run), **(metrics or {})}.items():
            lines += [f"### {heading}", "", _table(frame), ""]
        lines += ["```", reproduce(run), "```", ""]
    lines += [f"![{p.stem}]({p.as_posix()})" for p in pictures]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: Any) -> str:
    """Text that stays text in Markdown: no tags, no links, no table bars."""
    for mark, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("[", "&#91;"), ("\n", " ")):
        text = str(text).replace(mark, instead)
    return text


def _table(frame: pd.DataFrame) -> str:
    header = "| " + " | ".join(_escaped(c) for c in frame.columns) + " |"
    rows = ["| " + " | ".join(_escaped("" if v is None else v) for v in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join([header, "|---" * len(frame.columns) + "|", *rows])


def latex(runs: Mapping[str, Comparison], metrics: Mapping[str, pd.DataFrame] | None) -> str:
    """One table environment a table; needs \\usepackage{booktabs}. Everything is escaped."""
    parts = ["% needs \\usepackage{booktabs}; made by: " + shlex.join(["gradbridge", "report"])]
    for name, run in runs.items():
        for heading, frame in {**frames(run), **(metrics or {})}.items():
            caption = _tex(f"{heading}, {run.manifest['model']['name']}" + (f" ({name})" if len(runs) > 1 else ""))
            named = frame.rename(columns=lambda c: str(c).replace("_", " "))
            body = named.astype(str).replace({"nan": "", "None": ""}).to_latex(index=False, escape=True)
            parts.append(f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{body}\\end{{table}}")
    return "\n\n".join(parts) + "\n"


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
        c: "\\" + c for c in "&%$#_{}"
    }
    return "".join(special.get(c, c) for c in text)
