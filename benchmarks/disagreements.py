"""Where libraries' numbers are not the paper's: each with the smallest example that shows it.

    python -m benchmarks.disagreements

Both numbers of each row are computed again by this script. A library that is not installed has no
rows, and the page says so (Quantus is under the LGPL and is nobody's dependency here:
`pip install --no-deps --target FOLDER "quantus==0.6.*"`, and FOLDER on PYTHONPATH). Writes
benchmarks/disagreements.md; tests/metrics/test_peers.py asserts what it says.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import click

from benchmarks import (  # noqa: F401
    disagreements_of_faithfulness,
    disagreements_of_maps,
    disagreements_of_others,
)
from benchmarks.disagreement_examples import ROWS, Row
from benchmarks.disagreements_of_others import known_twins
from bridge.core.types import BridgeWarning
from bridge.record.manifest import versions

PAGE = Path(__file__).parent / "disagreements.md"
warnings.filterwarnings("ignore", category=BridgeWarning)


def rows() -> tuple[list[Row], list[str]]:
    """All rows of what is installed, and the packages that are not."""
    found, absent = [], []
    for library, makers in ROWS.items():
        if importlib.util.find_spec(library) is None:
            absent.append(library)
        else:
            found += [make() for make in makers]
    return [*found, *known_twins()], absent


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


TEXT = """# Where libraries and papers disagree

Both numbers of each row were computed by `python -m benchmarks.disagreements`, on the smallest
example that shows it. What is not here is the same number, and tests say so
(tests/metrics/test_peers.py, tests/test_agreement_with_twins.py). {versions}.{absent}

| what | library | example | its number | ours (or by hand) | equation | who follows it |
|---|---|---|---|---|---|---|
{rows}

Not computed here: Quantus' parameter randomisation re-initialises in torch and shuffles in
TensorFlow (its issue 285); radius and samples of max-sensitivity are .02 / 10 in Captum, .2 / 200
in Quantus and .2 / 8 in pnpxai, so that their defaults do not compare; pnpxai and Quantus cite one
paper for complexity, and pnpxai takes a histogram of ten bins.
"""


@click.command()
def main() -> None:
    found, absent = rows()
    lines = [
        f"| {row.what} | {row.library} | {row.example} | {shown(row.theirs)} | {shown(row.ours)} | "
        f"{row.equation.replace('|', chr(92) + '|')} | {row.follows} |"
        for row in found
    ]
    known = versions(("torch", "numpy", "quantus", "grad-cam", "torchcam", "captum", "foolbox"))
    lacking = f" Not installed, and without rows: {', '.join(absent)}." if absent else ""
    text = TEXT.format(
        rows="\n".join(lines),
        versions=", ".join(f"{name} {version}" for name, version in known.items() if version),
        absent=lacking,
    )
    PAGE.write_text(text, encoding="utf-8")
    click.echo(PAGE)


if __name__ == "__main__":
    main()
