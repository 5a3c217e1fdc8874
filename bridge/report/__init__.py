"""Reports that people send on: a page, Markdown, LaTeX, CSV, Parquet, figures. No computation."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from bridge.record.place import check_folder, replacing, short_name
from bridge.record.record import Record
from bridge.report.content import Metrics
from bridge.report.figures import write_figures
from bridge.report.page import fragment, page
from bridge.report.text import latex, markdown

__all__ = ["fragment", "report"]

SUFFIXES = (".html", ".md", ".tex", ".pdf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
PRINTS_WITHIN = 300  # seconds
# Text that a spreadsheet would take for a formula, and run.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
    if path.suffix not in (*SUFFIXES, ""):
        raise ValueError(
            f"unknown kind of report {path.suffix!r}: expected {', '.join(SUFFIXES)} or a folder"
        )
    named = _named(runs)
    further = _frames(metrics)
    for name in further.keys() & {name for run in named.values() for name in run.tables}:
        raise ValueError(f"metrics has a table {name!r}, and so has the run: give it another name")
    check_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        _write(path, page(named, title=title, metrics=further))
    elif path.suffix == ".md":
        pictures = _pictures(named, path.parent / f"{path.stem}_figures", kinds=("png",), dpi=100)
        shown = [picture.relative_to(path.parent) for picture in pictures]
        _write(path, markdown(named, shown, title, further))
    elif path.suffix == ".tex":
        _write(path, latex(named, further))
    elif path.suffix == ".pdf":
        _print(page(named, title=title, metrics=further), path)
    else:
        _everything(named, path, title, further)
    return path


def _write(path: Path, text: str) -> None:
    """A text file; what is no Unicode (bytes of a file's name) in escapes."""
    with replacing(path) as file:
        file.write_bytes(text.encode("utf-8", "backslashreplace"))


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
    _write(folder / "report.html", page(runs, title=title, metrics=metrics))
    _write(folder / "tables.tex", latex(runs, metrics))
    pictures = _pictures(runs, folder / "figures", kinds=("png", "svg"), dpi=300)
    shown = [p.relative_to(folder) for p in pictures if p.suffix == ".png"]
    _write(folder / "report.md", markdown(runs, shown, title, metrics))
    for name, run in _by_file(runs).items():
        prefix = "" if len(runs) == 1 else f"{name}-"
        for table, frame in _by_file({**run.tables, **metrics}).items():
            with replacing(tables / f"{prefix}{table}.csv") as file:
                _defused(frame).to_csv(file, index=False, errors="backslashreplace")
            with replacing(tables / f"{prefix}{table}.parquet") as file:
                try:
                    frame.to_parquet(file, index=False)
                except ArrowException:  # a column of several kinds
                    frame.astype(str).to_parquet(file, index=False)


def _defused(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table, without text that a spreadsheet would execute. Numbers stay."""

    def text(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    found = frame.copy()
    for column in found:
        if found[column].dtype.kind not in "biufcmM":
            found[column] = found[column].map(text)
    return found.rename(columns=text)


def _by_file(named: Mapping[str, Any]) -> dict[str, Any]:
    """The same by names for files: short, and numbered where two would be one."""
    found: dict[str, Any] = {}
    for name, value in named.items():
        short = base = short_name(name)
        for number in range(2, len(named) + 1):
            if short not in found:
                break
            short = f"{base}_{number}"
        found[short] = value
    return found


def _pictures(
    runs: Mapping[str, Record], folder: Path, *, kinds: Sequence[str], dpi: int
) -> list[Path]:
    """The figures of all runs, each in a folder of its own where there are several."""
    written: list[Path] = []
    for name, run in _by_file(runs).items():
        place = folder if len(runs) == 1 else folder / name
        written += write_figures(run, place, kinds=kinds, dpi=dpi)
    return written


def _print(html: str, path: Path) -> None:
    """The page as a PDF, by whichever browser is installed, in its sandbox where it has one."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise RuntimeError(
            f"a PDF is printed by a browser, and none of {', '.join(BROWSERS)} is installed: "
            "write .html and print it"
        )
    # Chromium has no sandbox for root, and cannot have one where the system forbids name spaces.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "report.html"
        source.write_bytes(html.encode("utf-8", "backslashreplace"))
        with replacing(path) as file:
            failed = _printed(browser, source, file, sandbox=not root)
            if failed and not root and "sandbox" in failed.lower():
                failed = _printed(browser, source, file, sandbox=False)
            if failed:
                raise RuntimeError(f"{browser} could not print the report: {failed}")


def _printed(browser: str, source: Path, file: Path, *, sandbox: bool) -> str:
    """Print a page; what went wrong, "" where nothing did."""
    arguments = [
        browser,
        "--headless",
        *([] if sandbox else ["--no-sandbox"]),
        "--disable-gpu",
        f"--user-data-dir={source.parent / 'profile'}",
        "--no-first-run",
        "--no-pdf-header-footer",
        f"--print-to-pdf={file}",
        source.as_uri(),
    ]
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, errors="replace", timeout=PRINTS_WITHIN
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {PRINTS_WITHIN} s"
    if done.returncode == 0 and file.is_file():
        return ""
    said = " ".join(done.stderr.split())[-500:]
    return said or f"it ended with {done.returncode}"
