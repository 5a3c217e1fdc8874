"""The kill score of the checker: wrong ones found, diagnoses that are true, right ones not flagged.

python benchmarks/mutation.py    # writes benchmarks/results/mutation.md; ten minutes on two cores
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


@dataclass
class Scored:
    """One method's figures, and what went wrong in words."""

    method: str
    killed: int = 0
    wrong: int = 0
    named: int = 0
    stated: int = 0
    flagged: int = 0
    right: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    slowest: str = ""
    lines: list[str] = field(default_factory=list)


def timed(found: Scored, name: str, check: Callable[[], Any]) -> tuple[Any, float]:
    """A report, and the processor time that it took; the longest is kept."""
    start = time.process_time()
    report = check()
    spent = time.process_time() - start
    if spent > found.longest:
        found.longest, found.slowest = spent, name
    return report, spent


def score(method: str, seeds: int) -> Scored:
    """Check all wrong implementations of a method once, and all right ones in every seed."""
    import bridge
    from tests.conformance_mutants import RIGHT, WRONG

    found, total = Scored(method), 0.0
    for name, (function, words) in WRONG[method].items():
        report, spent = timed(found, name, partial(bridge.check, function, method))
        total += spent
        found.wrong += 1
        found.killed += not report.passed
        if report.passed:
            found.lines.append(f"- not found: {method}: {name}")
        if words is not None:
            found.stated += 1
            found.named += words in report.cause
            if words not in report.cause:
                found.lines.append(f"- not diagnosed: {method}: {name}: {report.cause}")
    found.seconds = total / found.wrong
    for name, function in RIGHT[method].items():
        for seed in range(seeds):
            check = partial(bridge.check, function, method, seed=seed)
            report, _ = timed(found, f"{name} (right)", check)
            found.right += 1
            found.flagged += not report.passed
            if not report.passed:
                failure = report.failures[0]
                found.lines.append(
                    f"- flagged: {method}: {name}: seed {seed}: {failure.name}: {failure.message}"
                )
    figures = f"{found.killed} of {found.wrong}, {found.named} of {found.stated}"
    slowest = f"the longest {found.longest:.1f} s ({found.slowest})"
    click.echo(f"{method}: {figures}, {found.flagged} flagged, {slowest}", err=True)
    for line in found.lines:
        click.echo(line, err=True)
    return found


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--seeds",
    default=20,
    show_default=True,
    help="Seeds in which right implementations must not be flagged.",
)
def main(names: tuple[str, ...], seeds: int) -> None:
    """Score all methods and write the file; of NAMES only these, and nothing is written."""
    from bridge.registry import get
    from tests.conformance_mutants import WRONG

    # Random ones first: they take longest, since averages of many draws are compared.
    order = sorted(names or WRONG, key=lambda name: not get(name).random)
    with ProcessPoolExecutor(max_workers=2) as pool:
        scored = {s.method: s for s in pool.map(score, order, [seeds] * len(order))}
    if names:
        return
    rows = [scored[method] for method in WRONG]
    killed, wrong, named, stated, flagged, right = (
        sum(getattr(row, name) for row in rows)
        for name in ("killed", "wrong", "named", "stated", "flagged", "right")
    )
    text = [
        "# Kill score of the conformance checker",
        "",
        f"Made by `benchmarks/mutation.py --seeds {seeds}`.",
        "",
        f"- Wrong implementations found: **{killed} of {wrong}**.",
        f"- Diagnoses that name the true cause: **{named} of {stated}** of those whose cause can "
        "be said in words (others",
        "  crash, return nothing or leave traces, which their failing check says).",
        f"- Right implementations flagged: **{flagged} of {right}**, each in {seeds} seeds.",
        f"- The longest check took **{max(r.longest for r in rows):.1f} s** of processor time "
        "(10 are allowed).",
        "",
        "| method | wrong ones found | diagnosed | right ones flagged | seconds a wrong one "
        "| the longest | which |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {r.method} | {r.killed} of {r.wrong} | {r.named} of {r.stated} "
            f"| {r.flagged} of {r.right} | {r.seconds:.1f} | {r.longest:.1f} | {r.slowest} |"
            for r in rows
        ),
        "",
        *(line for r in rows for line in r.lines),
        "",
    ]
    (ROOT / "benchmarks" / "results" / "mutation.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
