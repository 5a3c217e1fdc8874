"""The figures of a study for a paper: curves over epsilon, similarity, the chosen images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from bridge.record.place import short_name
from bridge.report.figures import draw_matrix, drawn
from bridge.report.study.album import Group
from bridge.report.study.content import curves
from bridge.statistics.robustness import WORST
from bridge.tables.study import Summary

INCH = 1.1  # of a picture's side
LONGEST, SHORT = 100, 28  # characters of what stands above a strip, and below a picture


def write_figures(
    summary: Summary,
    groups: Sequence[Group],
    folder: Path,
    *,
    kinds: Sequence[str] = ("png",),
    dpi: int = 300,
) -> list[Path]:
    """Write what there is to draw into `folder`, once a kind ("png", "svg"); returns the paths."""
    jobs: dict[str, Callable[[Any], bool]] = {
        "accuracy_over_epsilon": partial(_curves, summary),
        "similarity": partial(_similarity, summary),
    }
    jobs |= {short_name(group.name): partial(_group, group) for group in groups}
    return drawn(jobs, folder, kinds=kinds, dpi=dpi)


def _curves(summary: Summary, figure: Any) -> bool:
    found = curves(summary)
    if not found:
        return False
    figure.set_size_inches(4.5 * len(found), 3.4)
    for axes, (norm, by_method) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        for method, points in by_method.items():
            worst = {"color": "black", "linewidth": 2.2, "zorder": 3} if method == WORST else {}
            x, y = points["epsilon"].to_numpy(), points["accuracy"].to_numpy()
            line = axes.plot(x, y, marker="o", markersize=3, label=method, **worst)[0]
            low, high = (points[f"accuracy_{end}"].to_numpy() for end in ("low", "high"))
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(xlabel=f"epsilon ({norm})", ylabel="accuracy", ylim=(-0.02, 1.02))
        axes.legend(frameon=False, fontsize=7)
    return True


def similarity_matrix(summary: Summary) -> tuple[list[str], np.ndarray]:
    """The methods, and the mean rank correlation of each pair (methods, methods)."""
    frame = summary.similarity
    names = list(dict.fromkeys([*frame["a"], *frame["b"]]))
    matrix = np.eye(len(names))
    for row in frame.itertuples():
        a, b = names.index(row.a), names.index(row.b)
        matrix[a, b] = matrix[b, a] = row.mean
    return names, matrix


def _similarity(summary: Summary, figure: Any) -> bool:
    names, matrix = similarity_matrix(summary)
    if len(names) < 2:
        return False
    draw_matrix(figure, names, matrix)
    return True


def _group(group: Group, figure: Any) -> bool:
    """A row a strip; what stands above a picture is its name, below it what it says."""
    wide = max(len(strip.shots) for strip in group.strips)
    figure.set_size_inches(INCH * wide + 0.2, (INCH + 0.55) * len(group.strips))
    grid = figure.subplots(len(group.strips), wide, squeeze=False)
    for strip, line in zip(group.strips, grid, strict=True):
        # Room for two lines; a long title may stand over the next pictures without moving them.
        line[0].set_title("\n ", fontsize=6)
        above = f"{shorten(strip.title, LONGEST)}\n{strip.note}".strip()
        said = line[0].text(0, 1.03, above, fontsize=6, va="bottom", transform=line[0].transAxes)
        said.set_in_layout(False)
        for axes in line:
            axes.axis("off")
        for shot, axes in zip(strip.shots, line, strict=False):
            axes.imshow(shot.rgb.numpy(), interpolation="nearest")
            name = f"{shot.name}\n{shorten(shot.caption, SHORT)}".strip()
            below = axes.text(
                0.5, -0.04, name, ha="center", va="top", fontsize=5, transform=axes.transAxes
            )
            below.set_in_layout(False)
    return True
