"""Reports that people send on: a page, Markdown, LaTeX, CSV, Parquet, figures. No computation."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge.record.record import Record
from bridge.report.content import Metrics
from bridge.report.figures import write_figures
from bridge.report.page import fragment, page
from bridge.report.text import latex, markdown

__all__ = ["fragment", "report"]

SUFFIXES = (".html", ".md", ".tex", ".pdf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


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

    Raises ValueError for another ending, no run, or a run directory that cannot be read;
    RuntimeError where a PDF is asked for and no browser is found.

        report("runs/first", "first.html")
        report(["runs/before", "runs/after"], "both.html", title="Before and after")
    """
    path = Path(path)
    if path.suffix not in (*SUFFIXES, ""):
        raise ValueError(
            f"unknown kind of report {path.suffix!r}: expected {', '.join(SUFFIXES)} or a folder"
        )
    named = _named([runs] if isinstance(runs, Record | str | Path) else list(runs))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        path.write_text(page(named, title=title, metrics=metrics), encoding="utf-8")
    elif path.suffix == ".md":
        pictures = _pictures(named, path.parent / f"{path.stem}_figures", kinds=("png",), dpi=100)
        shown = [picture.relative_to(path.parent) for picture in pictures]
        path.write_text(markdown(named, shown, title, metrics), encoding="utf-8")
    elif path.suffix == ".tex":
        path.write_text(latex(named, metrics), encoding="utf-8")
    elif path.suffix == ".pdf":
        _print(page(named, title=title, metrics=metrics), path)
    else:
        _everything(named, path, title, metrics)
    return path


def _named(listed: Sequence[Record | str | Path]) -> dict[str, Record]:
    """The runs by the names of their folders, numbered where two have the same."""
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


def _everything(
    runs: Mapping[str, Record], folder: Path, title: str | None, metrics: Metrics | None
) -> None:
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(page(runs, title=title, metrics=metrics), encoding="utf-8")
    (folder / "tables.tex").write_text(latex(runs, metrics), encoding="utf-8")
    pictures = _pictures(runs, folder / "figures", kinds=("png", "svg"), dpi=300)
    shown = [p.relative_to(folder) for p in pictures if p.suffix == ".png"]
    (folder / "report.md").write_text(markdown(runs, shown, title, metrics), encoding="utf-8")
    for name, run in runs.items():
        prefix = "" if len(runs) == 1 else _file_name(name) + "-"
        for table, frame in {**run.tables, **(metrics or {})}.items():
            frame.to_csv(tables / f"{prefix}{_file_name(table)}.csv", index=False)
            frame.to_parquet(tables / f"{prefix}{_file_name(table)}.parquet", index=False)


def _pictures(
    runs: Mapping[str, Record], folder: Path, *, kinds: Sequence[str], dpi: int
) -> list[Path]:
    """The figures of all runs, each in a folder of its own where there are several."""
    written: list[Path] = []
    for name, run in runs.items():
        place = folder if len(runs) == 1 else folder / _file_name(name)
        written += write_figures(run, place, kinds=kinds, dpi=dpi)
    return written


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in text)


def _print(html: str, path: Path) -> None:
    """The page as a PDF, by whichever browser is installed."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise RuntimeError(
            f"a PDF is printed by a browser, and none of {', '.join(BROWSERS)} is installed: "
            "write .html and print it"
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "report.html"
        source.write_text(html, encoding="utf-8")
        done = subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={folder}/profile",
                "--no-first-run",
                "--no-pdf-header-footer",
                f"--print-to-pdf={path.resolve()}",
                source.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
    if done.returncode or not path.is_file():
        raise RuntimeError(f"{browser} could not print the report: {done.stderr.strip()[-500:]}")
