"""Rows of what was measured against its bar, and how times are taken for them."""

from __future__ import annotations

import gc
import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
import torch
from torch import Tensor

from bridge.core.timer import clock, interleaved
from bridge.record import manifest

Calls = dict[str, Callable[[], object]]


def seconds(call: Callable[[], object], device: torch.device) -> float:
    start = clock(device)
    call()
    return clock(device) - start


def in_turns(calls: Calls, x: Tensor, rounds: int, *, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each call, in turns, in another order each round, after a warm-up of each."""
    for call in calls.values() if warm else ():
        call()
    gc.collect()
    timed = {name: partial(seconds, call, x.device) for name, call in calls.items()}
    return interleaved(timed, rounds)


def quartiles(times: dict[str, list[float]], ours: str, theirs: str) -> tuple[float, float, float]:
    """Of the ratios of times taken one after the other; the ends in place of too few's."""
    values = [a / b for a, b in zip(times[ours], times[theirs], strict=True)]
    if len(values) < 4:
        return min(values), statistics.median(values), max(values)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(times: dict[str, list[float]], ours: str, theirs: str) -> tuple[float, str]:
    low, middle, high = quartiles(times, ours, theirs)
    return middle, f"{low:.2f} to {high:.2f}"


class Table:
    """What was measured, part by part; written after every row, so that nothing is lost.

    Parts that were measured before are kept beside the table and stay in it until they are measured
    again. `parts` are all there are, in order.
    """

    def __init__(self, path: Path, device: str, parts: Sequence[str], about: str) -> None:
        self.path, self.kept, self.part = path, path.with_suffix(".json"), ""
        self.parts, self.about = parts, about
        self.rows: dict[str, list[list[str]]] = (
            json.loads(self.kept.read_text()) if self.kept.is_file() else {}
        )
        self.threads = 0  # of the rows that are added; on a GPU there is nothing to say
        x = torch.empty(0, device=device)
        self.head = f"{manifest.device_name(x.device)}; " + ", ".join(
            f"{k} {v}" for k, v in manifest.versions().items() if v and k != "gradbridge"
        )

    def add(
        self,
        work: str,
        against: str,
        found: float,
        spread: str,
        bar: float | None,
        goal: float | None,
        passes: str = "",
    ) -> None:
        """A row: what was measured against which bar; said and written at once."""
        if self.threads:
            work = f"{work}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        verdict = "" if bar is None else "yes" if found <= bar else "**no**"
        row = [work, against, f"{found:.3f}", spread, _number(bar), _number(goal), verdict, passes]
        self.rows[self.part].append(row)
        click.echo(" | ".join(row))
        self.write()

    def say(self, text: str) -> None:
        """A remark that is no row."""
        click.echo(text)

    def write(self) -> None:
        lines = [
            "# Speed of the fused engine",
            "",
            self.about,
            "",
            self.head,
            "",
            "| work | against | measured | quartiles | bar | goal | met | passes an image, F / B |",
            "|---" * 8 + "|",
            *(
                "| " + " | ".join(row) + " |"
                for part in self.parts
                for row in self.rows.get(part, ())
            ),
        ]
        self.kept.write_text(json.dumps(self.rows, indent=1) + "\n")
        self.path.write_text("\n".join(lines).rstrip() + "\n")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
