"""Reports that people send on: a page, Markdown, LaTeX, CSV, Parquet, figures. No computation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bridge.record.place import check_folder
from bridge.record.record import Record
from bridge.report.content import Metrics
from bridge.report.figures import write_figures
from bridge.report.page import fragment, page
from bridge.report.text import latex, markdown
from bridge.report.writing import by_file, check_kind, print_page, write_table, write_text

__all__ = ["fragment", "report"]


def report(
    runs: Record | str | Path | Sequence[Record | str | Path],
    path: str | Path = "report.html",
    *,
    title: str | None = None,
    metrics: Metrics | None = None,
) -> Path:
    """Write a report of one or several runs, Comparisons or run directories; returns `path`.

    What it is, the ending of `path` says. `.html`: one file that opens anywhere, without a network.
    `.md`: tables for a pull request, with pictures beside it. `.tex`: tables for a paper
    (booktabs). `.pdf`: the page, printed by an installed Chromium or Chrome. No ending: a folder
    with all of it, every table as CSV and Parquet, and the figures as PNG at 300 dpi and SVG.
    Several runs stand side by side, with what differs between them marked. `title` stands above
    it all; `metrics` are further tables by name, DataFrames that are shown as they are.

    Each file changes only once all of it is written. In CSV, text that a spreadsheet would take for
    a formula has a ' before it.

    Raises ValueError for another ending, no run, or a run directory that cannot be read, TypeError
    for what is no run, OSError where nothing can be written, RuntimeError where a PDF is asked for
    and no browser can print it.

        report("runs/first", "first.html")
        report(["runs/before", "runs/after"], "both.html", title="Before and after")
    """
    path = Path(path)
    check_kind(path)
    named = _named(runs)
    further = _frames(metrics)
    for name in further.keys() & {name for run in named.values() for name in run.tables}:
        raise ValueError(f"metrics has a table {name!r}, and so has the run: give it another name")
    check_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        write_text(path, page(named, title=title, metrics=further))
    elif path.suffix == ".md":
        pictures = _pictures(named, path.parent / f"{path.stem}_figures", kinds=("png",), dpi=100)
        shown = [picture.relative_to(path.parent) for picture in pictures]
        write_text(path, markdown(named, shown, title, further))
    elif path.suffix == ".tex":
        write_text(path, latex(named, further))
    elif path.suffix == ".pdf":
        print_page(page(named, title=title, metrics=further), path)
    else:
        _everything(named, path, title, further)
    return path


def _named(runs: Any) -> dict[str, Record]:
    """The runs by the names of their folders, numbered where two have the same."""
    single = isinstance(runs, Record | str | Path)
    several = isinstance(runs, Iterable) and not isinstance(runs, Mapping | pd.DataFrame)
    listed: list[Any] = [runs] if single or not several else list(runs)
    for run in listed:
        if not isinstance(run, Record | str | Path):
            kind = type(run).__name__
            raise TypeError(f"expected a run (a Comparison, or a run directory), got a {kind}")
    if not listed:
        raise ValueError("there is no run to report: pass a Comparison or a run directory")
    names = [
        f"run {index + 1}" if isinstance(run, Record) else Path(run).resolve().name
        for index, run in enumerate(listed)
    ]
    distinct = [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})"
        for i, name in enumerate(names)
    ]
    loaded = [run if isinstance(run, Record) else Record.load(run) for run in listed]
    return dict(zip(distinct, loaded, strict=True))


def _frames(metrics: Any) -> dict[str, pd.DataFrame]:
    """The further tables. Raises TypeError for what are none."""
    if metrics is not None and not isinstance(metrics, Mapping):
        kind = type(metrics).__name__
        raise TypeError(f"metrics are tables by name, such as {{'area': frame}}, got a {kind}")
    for name, frame in (metrics or {}).items():
        if not isinstance(frame, pd.DataFrame):
            kind = type(frame).__name__
            raise TypeError(f"metrics[{name!r}] is a {kind}, expected a pandas.DataFrame")
    return {str(name): frame for name, frame in (metrics or {}).items()}


def _everything(
    runs: Mapping[str, Record], folder: Path, title: str | None, metrics: Metrics
) -> None:
    tables = folder / "tables"
    check_folder(tables)
    tables.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.html", page(runs, title=title, metrics=metrics))
    write_text(folder / "tables.tex", latex(runs, metrics))
    pictures = _pictures(runs, folder / "figures", kinds=("png", "svg"), dpi=300)
    shown = [p.relative_to(folder) for p in pictures if p.suffix == ".png"]
    write_text(folder / "report.md", markdown(runs, shown, title, metrics))
    for name, run in by_file(runs).items():
        prefix = "" if len(runs) == 1 else f"{name}-"
        for table, frame in by_file({**run.tables, **metrics}).items():
            write_table(tables / f"{prefix}{table}", frame)


def _pictures(
    runs: Mapping[str, Record], folder: Path, *, kinds: Sequence[str], dpi: int
) -> list[Path]:
    """The figures of all runs, each in a folder of its own where there are several."""
    written: list[Path] = []
    for name, run in by_file(runs).items():
        place = folder if len(runs) == 1 else folder / name
        written += write_figures(run, place, kinds=kinds, dpi=dpi)
    return written
