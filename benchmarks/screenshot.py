"""Regenerate the README's picture of the report: the default run, in an installed Chromium.

pip install ".[test]" && python benchmarks/screenshot.py      # writes benchmarks/results/report.png
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import bridge

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    browser = next(found for name in ("chromium", "google-chrome") if (found := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "bridge.cli", "compare", "--out", f"{folder}/run"]
        subprocess.run(command, check=True)
        page_file = bridge.Comparison.load(f"{folder}/run").report(f"{folder}/report.html")
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(page_file.as_uri())
        page.screenshot(path=RESULTS / "report_top.png")  # the first screen of a laptop
        page.locator(".row").first.screenshot(path=RESULTS / "report_row.png")
        chromium.close()


if __name__ == "__main__":
    main()
