"""The test vectors, recorded: readers that have seen nothing else, planted mistakes, time, size.

    python benchmarks/vectors.py    # three minutes on a quiet core, one without JAX

Writes all vectors, computes them in plain numpy and, where it is installed, in JAX (float64, and
float32 on the exact networks), judges both, then judges mistakes planted in the numpy code. Writes
benchmarks/results/vectors.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import bridge  # noqa: E402
from bridge.vectors import read, write  # noqa: E402
from tests.vectors import numpy_reader  # noqa: E402
from tests.vectors.mistakes import MISTAKES  # noqa: E402


def in_jax(folder: Path, precision: str) -> dict[str, numpy_reader.Array]:
    """What JAX computes, nothing where it is not installed."""
    file = folder.parent / f"{precision}.npz"
    command = [sys.executable, "-m", "tests.vectors.jax_process", str(folder), str(file), precision]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if "No module named 'jax'" in done.stderr:
        return {}
    done.check_returncode()
    return read.load_outputs(file)


def largest_gap(outputs: dict[str, numpy_reader.Array], method: str, folder: Path) -> str:
    """ "2e-16 (10)": the largest gap, and how many cases passed; what failed in words."""
    if not outputs:
        return "not run"
    report = bridge.check_outputs(outputs, method, vectors=folder, partial=True)
    gaps = [check.figures["gap"] for check in report.checks if check.figures]
    failed = f", {len(report.failures)} FAILED" if report.failures else ""
    return f"{max(gaps):.0e} ({report.counts()['passed']}{failed})" if gaps else "none"


@click.command()
def main() -> None:
    """Record the figures."""
    with tempfile.TemporaryDirectory() as place:
        text = recorded(Path(place) / "vectors")
    (ROOT / "benchmarks" / "results" / "vectors.md").write_text(text, encoding="utf-8")
    click.echo(text)


def recorded(folder: Path) -> str:
    """The page."""
    start = time.process_time()
    write(folder)
    writing = time.process_time() - start
    index = json.loads((folder / "index.json").read_text())
    told = {name: read.told(read.reader(folder), name) for name in index["cases"]}
    exact = {
        name: sum(case["tolerance"]["why"] == "exact" for case in each.cases)
        for name, each in told.items()
    }
    start = time.process_time()
    in_numpy = numpy_reader.answers(folder)
    reading = time.process_time() - start
    wide, single = in_jax(folder, "float64"), in_jax(folder, "float32")
    rows = [
        f"| {name} | {count} | {exact[name]} | "
        + " | ".join(largest_gap(found, name, folder) for found in (in_numpy, wide, single))
        + " |"
        for name, count in index["cases"].items()
    ]
    caught, named, asked, lines = judged_mistakes(folder)
    start = time.process_time()
    for name in told:
        bridge.check_outputs(in_numpy, name, vectors=folder, partial=True)
    judging = time.process_time() - start
    size = sum(each["bytes"] for each in index["files"].values())
    wrong = sum(len(case["wrong"]) for each in told.values() for case in each.cases)
    return "\n".join(
        [
            "# Test vectors",
            "",
            "Made by `benchmarks/vectors.py`.",
            "",
            f"- {sum(index['cases'].values())} cases of {len(told)} methods and building blocks, "
            f"{sum(exact.values())} of them exact to the bit; {size / 1e6:.1f} MB, with the prints "
            f"of {wrong} wrong answers.",
            f"- Processor seconds: {writing:.0f} to write, {reading:.1f} to compute all in numpy, "
            f"{judging:.1f} to judge them.",
            *(f"- Left out: {name}: {why}." for name, why in index["left_out"].items()),
            "",
            "Two readers that have seen the vectors alone: plain numpy with backward passes "
            "written by hand, and JAX.",
            "Largest relative gap (attacks: in pixels), and how many cases passed; float32 on the "
            "two exact networks.",
            "",
            "| method | cases | exact | numpy | JAX, float64 | JAX, float32 |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "## Planted mistakes",
            "",
            f"{len(MISTAKES)} mistakes planted in the numpy code: **{caught} caught**, "
            f"**{named} of {asked}** named",
            "(of the others no name is asked for). Who planted them knew the judge: of mistakes by "
            "strangers fewer",
            "will be named. Before anything was mended 88 were caught and 78 of 86 named.",
            "",
            "| mistake | method | what the judge says |",
            "|---|---|---|",
            *lines,
            "",
        ]
    )


def judged_mistakes(folder: Path) -> tuple[int, int, int, list[str]]:
    """How many are caught, named, to be named; and a line for each."""
    caught = named = asked = 0
    lines = []
    for mistake in MISTAKES:
        report = bridge.check_outputs(mistake.outputs(folder), mistake.method, vectors=folder)
        caught += not report.passed
        asked += bool(mistake.words)
        named += bool(mistake.words) and mistake.words in report.cause
        lines.append(f"| {mistake.name} | {mistake.method} | {report.cause or 'NOT CAUGHT'} |")
    return caught, named, asked, lines


if __name__ == "__main__":
    main()
