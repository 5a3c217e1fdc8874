"""What a benchmark measured: its records as a table, Markdown and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bridge.record import store
from bridge.tables import Column, Table, plain, records

LIMIT = "limit"

SECONDS = Column("seconds", heading="ms", format=".1f", scale=1000, better="lower")
RATIO = Column("ratio", heading="ratio to library", format=".2f", better="lower")
FORWARDS = Column("forwards", heading="F", format=".0f", better="lower")
PEAK = Column("peak_mb", heading="peak MB", format=".0f", better="lower")

TABLE = Table(
    "records",
    "Benchmark",
    [
        *(Column(name) for name in ("model", "device", "images", "height", "width", "method")),
        Column("implementation", heading="by"),
        SECONDS,
        Column("lower_quartile", unit="s"),
        Column("upper_quartile", unit="s"),
        Column("baseline"),
        RATIO,
        Column("ratio_lower", format=RATIO.format),
        Column("ratio_upper", format=RATIO.format),
        Column("rounds"),
        Column("warm_up", unit="s"),
        FORWARDS,
        Column("backwards", heading="B", format=FORWARDS.format, better="lower"),
        PEAK,
        Column("verdict"),
        Column("gap", format=".0e", better="lower"),
    ],
)
COLUMNS = TABLE.names
FAILURES = ["model", "method", "implementation", "error"]


def _ratio(value: Any, row: Mapping[str, Any]) -> str:
    return "" if row["implementation"] == row["baseline"] else RATIO.show(row)


def _quartiles(value: Any, row: Mapping[str, Any]) -> str:
    if row["implementation"] in (row["baseline"], LIMIT):
        return ""
    return f"{TABLE['ratio_lower'].show(row)} to {TABLE['ratio_upper'].show(row)}"


def _passes(value: Any, row: Mapping[str, Any]) -> str:
    return "" if pd.isna(value) else f"{FORWARDS.show(row)} / {TABLE['backwards'].show(row)}"


SHOWN = (
    Column("method"),
    TABLE["implementation"],
    SECONDS,
    Column("ratio", heading=RATIO.heading, text=_ratio),
    Column("ratio_lower", heading="quartiles", text=_quartiles),
    Column("forwards", heading="F / B", text=_passes),
    PEAK,
    Column("verdict"),
)


@dataclass(frozen=True)
class Benchmark:
    """What `benchmark` measured: a row for each model, batch, method and implementation.

    `seconds` is the median with its quartiles. `ratio` is the median over the rounds of the time
    over that of `baseline` (the library where there is one, else the reference) in the same round.
    `peak_mb` is what a call took beyond what was held before. `verdict` is the agreement with the
    reference. The implementation "limit" is the least that the method can take: its passes at the
    fastest pass measured. The method "all together" is one plan against one call after another.
    `failures` says what did not run.
    """

    records: pd.DataFrame
    failures: pd.DataFrame
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether everything ran that was asked for, and nobody stopped it."""
        return bool(self.manifest.get("finished", True))

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write `run.json`, the tables as Parquet, `benchmark.md` and `benchmark.png`.

        As `bridge.record.record.Record.save`. Returns the folder's path.
        """
        tables = {"records": self.records, "failures": self.failures}
        return store.write(folder, self.manifest, tables, {}, force=force, more=self._show)

    def _show(self, folder: Path) -> None:
        (folder / "benchmark.md").write_text(self.markdown(), encoding="utf-8")
        self.figure(folder / "benchmark.png")

    def markdown(self) -> str:
        """Tables, one for each model and batch, with the hardware and the versions."""
        device = self.manifest["device"]
        versions = ", ".join(f"{k} {v}" for k, v in self.manifest["versions"].items() if v)
        machine = f"{device['name']}, {device['threads']} thread(s), {device['platform']}"
        lines = [f"{machine}; {versions}", ""]
        if not self.finished:
            lines = [f"**UNFINISHED: stopped by {self.manifest.get('stopped_by')}.**", "", *lines]
        by_batch = ["model", "device", "images", "height", "width"]
        for (model, where, n, h, w), frame in self.records.groupby(by_batch, sort=False):
            view = plain(SHOWN, records(frame))
            lines += [f"## {model}, {n} images of {h}x{w} on {where}", ""]
            lines += [_line(column.title for column in view.columns), "|---" * len(SHOWN) + "|"]
            lines += [*map(_line, view.rows), ""]
        lines += [
            f"- {row['model']}, {row['method']} by {row['implementation']}: {row['error']}"
            for row in records(self.failures)
        ]
        return "\n".join(lines).rstrip() + "\n"

    def figure(self, path: str | Path) -> Path:
        """A PNG: for each method the times of its implementations over the library's."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        groups: list[Any] = list(self.records.groupby(["model", "images"], sort=False))
        rows = max((frame["method"].nunique() for _, frame in groups), default=1)
        count = max(1, len(groups))
        figure = Figure(figsize=(5.5 * count, 1.2 + 0.45 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panes = figure.subplots(1, count, squeeze=False)[0][: len(groups)]
        for axes, ((model, n), found) in zip(panes, groups, strict=True):
            ratios = found[found["implementation"] != LIMIT].pivot_table(
                index="method", columns="implementation", values="ratio", sort=False
            )
            ratios.iloc[::-1].plot.barh(ax=axes, width=0.8, legend=True)
            axes.axvline(1, color="0.5", linewidth=0.8)
            label = "time over the library's (less is faster)"
            axes.set(title=f"{model}, {n} images", xlabel=label, ylabel="")
            axes.legend(fontsize=7, loc="lower right")
        figure.savefig(path, dpi=150)
        return Path(path)

    def __str__(self) -> str:
        return self.markdown()


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
