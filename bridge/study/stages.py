"""What `compare` runs: results first, then proof on a sample."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bridge.core.method import Method
from bridge.core.preflight import check_needs
from bridge.core.types import BridgeWarning, Failure
from bridge.fused import run_many
from bridge.study.cost import Cost, cost
from bridge.study.judge import judge
from bridge.study.measure import Batch, Timing, Trial, measure
from bridge.study.progress import Progress
from bridge.study.request import Request
from bridge.study.results import computed, first_number, in_order, recomputed
from bridge.tables import Evidence, tables

MOST = 5.0  # seconds that it may take to show what one plan for all methods saves
SPENT = ("seconds", "forwards", "backwards")


@dataclass(frozen=True)
class Setting:
    """What a comparison runs: results of the `batch`, then proof on the `sample` of it.

    Without a sample of its own, all implementations run on the whole batch. `wide` is the sample in
    float64, None where the model cannot be copied. `places` are those of the sample; None for all.
    """

    batch: Batch
    sample: Batch
    wide: Batch | None
    places: tuple[int, ...] | None
    timing: Timing
    deadline: float = float("inf")


def fill(
    evidence: Evidence,
    request: Request,
    timing: Timing,
    limit: float,
    progress: bool,
    kept: Callable[[], None],
) -> dict[str, Any]:
    """Run everything; returns what the manifest says of it."""
    start = time.monotonic()
    batch = Batch(evidence.model, evidence.x, evidence.labels, evidence.target, evidence.seed)
    places = evidence.sample
    sample = batch if places is None else batch.of(places)
    try:
        wide: Batch | None = sample.wide() if len(sample.x) else None
    except Exception as error:
        evidence.failed("", "", "float64 copy", error)
        wide = None
    setting = Setting(batch, sample, wide, places, timing, start + limit)
    expected = cost(request, batch, sample, wide)
    bar = Progress(expected.total, f"{expected} ({_what(evidence)})", quiet=not progress)
    with bar.shown():
        card: dict[str, Any] = {"expected": {"results": expected.results, "proof": expected.proof}}
        if places is not None:
            card["results"] = _results(evidence, request, setting, expected, bar, kept)
        if len(sample.x):
            _prove(evidence, request, setting, expected, bar, kept)
    card["spent"] = time.monotonic() - start
    if len(sample.x):
        try:
            card["together"] = _together(evidence, request, sample)
        except Exception as error:  # what ran is not lost for what is computed last
            evidence.failed("", "", "one plan", error)
    return card


def _what(evidence: Evidence) -> str:
    """How many images, and how many of them are judged."""
    images = len(evidence.x)
    if evidence.sample is None:
        return f"{images} images, all judged"
    return f"{images} images, {len(evidence.sample)} of them judged"


def _results(
    evidence: Evidence,
    request: Request,
    setting: Setting,
    expected: Cost,
    bar: Progress,
    kept: Callable[[], None],
) -> dict[str, Any]:
    """Each method once, on all images, by its quickest implementation."""
    start = time.perf_counter()
    for group in in_order(request, setting.batch.x):
        bar.begin(", ".join(method.name for method in group))
        cells, failures = computed(request, setting.batch, group)
        evidence.cells += cells
        evidence.failures += failures
        for cell in cells if bar.speaks else ():
            bar.say(first_number(evidence, cell))
        bar.advance(sum(expected.results[method.name] for method in group))
        kept()
    return {
        "images": len(setting.batch.x),
        "seconds": time.perf_counter() - start,
        "by": {cell.method.name: cell.implementation for cell in evidence.cells},
    }


def _prove(
    evidence: Evidence,
    request: Request,
    setting: Setting,
    expected: Cost,
    bar: Progress,
    kept: Callable[[], None],
) -> None:
    """Hold every implementation against the reference, the quick methods first."""
    for method in sorted(request.methods, key=lambda m: expected.proof[m.name]):
        seconds = expected.proof[method.name]
        if time.monotonic() + seconds > setting.deadline:
            text = f"would take about {seconds:.0f} s more: not judged"
            evidence.failures.append(Failure(method.name, "", "time limit", "TimeLimit", text))
            continue
        bar.begin(f"{method.name}, proof")
        _run(evidence, request, setting, method, kept)
        bar.advance(seconds)


def _run(
    evidence: Evidence,
    request: Request,
    setting: Setting,
    method: Method,
    kept: Callable[[], None],
) -> None:
    """One method at all its epsilons: what ran, and how it agrees."""
    functions = request.by_name(method)
    try:
        check_needs(method, evidence.model, evidence.x)
    except ValueError as error:
        for name in functions:
            evidence.failed(method.name, name, "preflight", error)
        return
    for params in request.given(method):
        trial = Trial(setting.sample, method, functions, params, images=setting.places)
        # Our own code is imported already, a library by its first call.
        warm = {"reference", "fused", *(cell.implementation for cell in evidence.timed)}
        # The lists grow as it goes, so that nothing is lost where it is interrupted.
        ran, failed = len(evidence.timed), len(evidence.failures)
        try:
            measure(trial, setting.timing, warm, evidence.timed, evidence.failures)
        finally:
            there = evidence.outputs
            evidence.cells += [cell for cell in evidence.timed[ran:] if cell.key not in there]
        cells, failures = evidence.timed[ran:], evidence.failures[failed:]
        raised: list[Failure] = []  # what failed elsewhere is no matter of this one
        try:
            judge(trial, cells, failures, setting.wide, evidence.judged, raised)
        finally:
            evidence.failures += raised
    _mend(evidence, request, setting, method)
    kept()


def _mend(evidence: Evidence, request: Request, setting: Setting, method: Method) -> None:
    """Compute a method's results again where the implementation that gave them was found wrong."""
    if setting.places is None or setting.batch.model.habits(setting.batch.x).depends_on:
        return
    by = {c.implementation for c in evidence.cells if c.method is method and c.images is None}
    wrong = {
        each.implementation
        for each in evidence.judged
        if each.method == method.name and each.agreement.verdict in ("differs", "failed")
    }
    if not by or by - wrong or "reference" not in request.by_name(method):
        return
    text = f"{', '.join(sorted(by))} differs here: the results are computed by the reference"
    evidence.failures.append(
        Failure(method.name, "reference", "results", BridgeWarning.__name__, text)
    )
    cells, failures = recomputed(request, setting.batch, method)
    # In place of what the reference returned on the sample.
    evidence.cells[:] = [c for c in evidence.cells if c.key not in {each.key for each in cells}]
    evidence.cells += cells
    evidence.failures += failures


def _together(evidence: Evidence, request: Request, sample: Batch) -> dict[str, Any]:
    """All fused methods in one plan on the sample, against the same cells one after another."""
    timed = list(tables()["runtime"].rows(evidence))
    fused = [row for row in timed if row["implementation"] == "fused"]
    if sum(row["seconds"] for row in fused) > MOST:
        return {}
    ran = {row["method"] for row in fused}
    wanted = {name: params for name, params in request.at_once().items() if name in ran}
    if len(wanted) < 2:
        return {}
    many = run_many(
        sample.model,
        sample.x,
        sample.target,
        wanted,
        labels=sample.labels,
        predict=False,
        seed=sample.seed,
    )
    alone: dict[str, dict[str, float]] = {}
    for name in ("fused", "reference"):
        rows = [row for row in timed if row["implementation"] == name and row["method"] in many]
        if rows:
            alone[name] = {what: sum(row[what] for row in rows) for what in SPENT}
    return {
        "methods": list(many),
        "seconds": many.seconds,
        "forwards": many.forwards,
        "backwards": many.backwards,
        "one_after_another": alone,
        "explained": many.plan.explain(),
    }
