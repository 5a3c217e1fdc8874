"""One model at one batch size: calls timed in turns, as rows of a benchmark."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bridge.core.timer import clock, interleaved
from bridge.core.types import Run
from bridge.study.benchmark_record import COLUMNS, FAILURES, LIMIT
from bridge.study.limit import Fastest, least
from bridge.study.measure import Batch
from bridge.study.memory import Peak

NAN = float("nan")

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """One model at one batch size, and what everything on it is measured with.

    `few` are the images that answers are judged on, `wide` the same in float64 (None where the
    model cannot be copied); `faster` are accelerated models by "fused+...".
    """

    name: str
    batch: Batch
    few: Batch
    wide: Batch | None
    faster: Mapping[str, Batch]
    fastest: Fastest
    rounds: int

    def failed(self, method: str, implementation: str, error: Exception) -> Row:
        """A row of the failures."""
        text = f"{type(error).__name__}: {error}"
        return dict(zip(FAILURES, (self.name, method, implementation, text), strict=True))

    def record(self, method: str, implementation: str, **values: Any) -> Row:
        """A row of the records; what is not given is empty."""
        n, _, height, width = self.batch.x.shape
        where = {"model": self.name, "device": str(self.batch.x.device), "images": n}
        size = {"height": height, "width": width}
        key = {"method": method, "implementation": implementation, "verdict": "", "rounds": 0}
        return dict.fromkeys(COLUMNS, NAN) | where | size | key | values


@dataclass(frozen=True)
class Timed:
    """One implementation: its first call, and its seconds in each round."""

    run: Run
    first: float
    megabytes: float
    seconds: Sequence[float]


def in_turns(
    bench: Bench, method: str, calls: Mapping[str, Callable[[], Run]]
) -> tuple[dict[str, Timed], list[Row]]:
    """A first call of each, with its memory; then in turns. Who raises is left out."""
    device = bench.batch.x.device
    first: dict[str, Timed] = {}
    failures: list[Row] = []
    for name, call in calls.items():
        try:
            with Peak(device) as peak:
                start = clock(device)
                run = call()
                seconds = clock(device) - start
            first[name] = Timed(run, seconds, peak.megabytes, ())
        except Exception as error:
            failures.append(bench.failed(method, name, error))

    def again(name: str) -> float:
        start = clock(device)
        try:
            calls[name]()
        except Exception as error:
            failures.append(bench.failed(method, name, error))
            return NAN
        return clock(device) - start

    gc.collect()
    times = interleaved({name: partial(again, name) for name in first}, bench.rounds)
    return {
        name: replace(first[name], seconds=seconds)
        for name, seconds in times.items()
        if len(seconds) == bench.rounds
    }, failures


def rows_of(bench: Bench, method: str, timed: Mapping[str, Timed], baseline: str) -> list[Row]:
    """A row an implementation: its times, and the ratios to the baseline round by round."""
    rows = []
    for name, found in timed.items():
        library = timed.get(baseline, found).seconds
        ratios = [ours / theirs for ours, theirs in zip(found.seconds, library, strict=True)]
        lower_quartile, seconds, upper_quartile = _quartiles(found.seconds)
        ratio_lower, ratio, ratio_upper = _quartiles(ratios)
        row = bench.record(
            method,
            name,
            seconds=seconds,
            lower_quartile=lower_quartile,
            upper_quartile=upper_quartile,
            baseline=baseline,
            ratio=ratio,
            ratio_lower=ratio_lower,
            ratio_upper=ratio_upper,
            rounds=bench.rounds,
            warm_up=found.first,
            forwards=found.run.forwards,
            backwards=found.run.backwards,
            peak_mb=found.megabytes,
        )
        rows.append(row)
    return rows


def limit_row(bench: Bench, rows: Sequence[Row], run: Run, parts: Sequence[Run]) -> Row:
    """The least that the passes of a run take, beside its rows; it is made of `parts`."""
    last = rows[-1]
    library = next((r for r in rows if r["implementation"] == r["baseline"]), last)
    seconds, forwards = least(bench.fastest, run, parts)
    return bench.record(
        last["method"],
        LIMIT,
        seconds=seconds,
        baseline=last["baseline"],
        ratio=seconds / library["seconds"],
        forwards=forwards,
        backwards=run.backwards,
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
