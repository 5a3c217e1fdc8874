"""How a report is written: whole files, tables that no spreadsheet runs, a page as a PDF."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from bridge.record.place import replacing, short_name

SUFFIXES = (".html", ".md", ".tex", ".pdf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
PRINTS_WITHIN = 300  # seconds
# Text that a spreadsheet would take for a formula, and run.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check_kind(path: Path) -> None:
    """Raise ValueError for an ending that no report has."""
    if path.suffix not in (*SUFFIXES, ""):
        raise ValueError(
            f"unknown kind of report {path.suffix!r}: expected {', '.join(SUFFIXES)} or a folder"
        )


def write_text(path: Path, text: str) -> None:
    """A text file; what is no Unicode (bytes of a file's name) in escapes."""
    with replacing(path) as file:
        file.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """A table as CSV and as Parquet: `path` with these endings."""
    with replacing(path.with_name(f"{path.name}.csv")) as file:
        _defused(frame).to_csv(file, index=False, errors="backslashreplace")
    with replacing(path.with_name(f"{path.name}.parquet")) as file:
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


def by_file(named: Mapping[str, Any]) -> dict[str, Any]:
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


def print_page(html: str, path: Path) -> None:
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
