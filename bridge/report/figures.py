"""The figures of a run for a paper: panels, runtime, robust accuracy, similarity; PNG and SVG."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bridge.record.place import replacing
from bridge.record.record import Record
from bridge.tables import epsilon_text, records, stated
from bridge.tables.similarity import similarity
from bridge.visualize.panels import panels

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}

MARKERS = "os^DvPX*"  # an implementation each


def write_figures(
    run: Record, folder: Path, *, kinds: Sequence[str] = ("png",), dpi: int = 300
) -> list[Path]:
    """Write what there is to draw into `folder`, once a kind ("png", "svg"); returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if run.outputs:
        written += [write_panels(run, folder / f"panels.{kind}", dpi=dpi) for kind in kinds]
    draws = {"runtime": _runtime, "robust_accuracy": _robust_accuracy, "similarity": _similarity}
    jobs = {name: partial(draw, run) for name, draw in draws.items()}
    return written + drawn(jobs, folder, kinds=kinds, dpi=dpi)


def drawn(
    jobs: Mapping[str, Callable[[Any], bool]], folder: Path, *, kinds: Sequence[str], dpi: int
) -> list[Path]:
    """Write each job's figure into `folder`, once a kind; returns the paths.

    A job draws into the figure that it is given, and says whether there was anything to draw.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in jobs.items():
        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(6, 4), layout="constrained")
            FigureCanvasAgg(figure)
            if not draw(figure):
                continue
            for kind in kinds:
                path = folder / f"{name}.{kind}"
                with replacing(path) as file:
                    figure.savefig(file, dpi=dpi)
                written.append(path)
    return written


def write_panels(run: Record, path: str | Path, *, dpi: int = 100) -> Path:
    """Write a PNG or SVG: images, attributions, each attack's images and changes. Returns `path`.

    Attributions are by the reference, or whoever there is; attacks at their largest epsilon, and
    above an image the class that the model then sees where it is not the label.
    """
    attacks = run.norms
    predictions = records(run.predictions)
    maps: dict[str, Tensor] = {}
    adversarials: dict[str, Tensor] = {}
    captions: dict[str, list[str]] = {}
    for name, key in run.chosen().items():
        output = run.outputs[key]
        if name not in attacks:
            if output.ndim == 4:
                maps[name] = output
            continue
        title = f"{name} {epsilon_text(key[2], attacks[name])}"
        adversarials[title] = output
        said = [
            (int(row["predicted"]), int(row["label"]))
            for row in predictions
            if (row["method"], row["implementation"], stated(row["epsilon"])) == key
        ]
        if len(said) == len(run.x):
            captions[title] = [run.class_name(p) if p != label else "" for p, label in said]
    titles = [run.class_name(int(label)) for label in run.labels]
    bounds = tuple(run.manifest["model"]["bounds"])
    with replacing(path) as file:
        panels(file, run.x, titles, maps, adversarials, captions=captions, bounds=bounds, dpi=dpi)
    return Path(path)


def _runtime(run: Record, figure: Any) -> bool:
    if not len(run.runtime):
        return False
    grouped = run.runtime.groupby(["method", "implementation"], sort=False)["seconds"]
    table = grouped.sum().unstack(sort=False).iloc[::-1] * 1000
    figure.set_size_inches(6, 1.2 + 0.22 * len(table))
    axes = figure.subplots()
    for (name, times), marker in zip(table.items(), itertools.cycle(MARKERS), strict=False):
        axes.plot(times, range(len(table)), marker, markersize=5, alpha=0.8, label=name)
    axes.set_yticks(range(len(table)), table.index)
    axes.set(xscale="log", xlabel="milliseconds, summed over epsilons")
    axes.grid(axis="x", linewidth=0.4)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return True


def _robust_accuracy(run: Record, figure: Any) -> bool:
    curves = robust_accuracy(run)
    if not curves:
        return False
    norms = list(dict.fromkeys(norm for norm, _ in curves))
    figure.set_size_inches(4.5 * len(norms), 3.4)
    for axes, norm in zip(figure.subplots(1, len(norms), squeeze=False)[0], norms, strict=True):
        for (of, method), points in curves.items():
            if of == norm:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=method)
        axes.set(xlabel=f"epsilon ({norm})", ylabel=kept(run), ylim=(-0.02, 1.02))
        axes.legend(frameon=False, fontsize=7)
    return True


def kept(run: Record) -> str:
    """What the curves over epsilon show."""
    return "Robust accuracy" if run.labelled else "Predictions that stay"


def robust_accuracy(run: Record) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(norm, attack) -> points (epsilon, share of all images still classified right), from 0 on.

    By the first implementation of each attack, which is the reference where it ran.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    sized = run.attacks.dropna(subset=["epsilon"])
    for method, rows in sized.groupby("method", sort=False):
        first = rows[rows["implementation"] == rows["implementation"].iloc[0]]
        first = first.sort_values("epsilon")
        if first["correct"].iloc[0]:
            clean = first["correct"].iloc[0] / first["images"].iloc[0]
            points = [(0.0, float(clean))] + [
                (float(r.epsilon), float(clean * (1 - r.success))) for r in first.itertuples()
            ]
            curves[str(first["norm"].iloc[0] or "linf"), str(method)] = points
    return curves


def _similarity(run: Record, figure: Any) -> bool:
    if not len(run.similarity):
        return False
    draw_matrix(figure, *similarity_matrix(run))
    return True


def draw_matrix(figure: Any, names: Sequence[str], matrix: np.ndarray) -> None:
    """Methods x methods: their rank correlation, in colours and numbers."""
    figure.set_size_inches(1.5 + 0.5 * len(names), 1.2 + 0.45 * len(names))
    axes = figure.subplots()
    picture = axes.imshow(matrix, cmap="bwr", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(matrix):
        text = similarity["spearman"].show({"spearman": value})
        axes.text(column, row, text, ha="center", va="center", fontsize=6)
    figure.colorbar(picture, label="Spearman correlation")


def similarity_matrix(run: Record) -> tuple[list[str], np.ndarray]:
    """The methods, and the rank correlation of each pair (methods, methods)."""
    names = list(dict.fromkeys([*run.similarity["method_a"], *run.similarity["method_b"]]))
    matrix = np.eye(len(names))
    for row in run.similarity.itertuples():
        a, b = names.index(row.method_a), names.index(row.method_b)
        matrix[a, b] = matrix[b, a] = row.spearman
    return names, matrix
