"""Many methods, each by many implementations, on one batch: a `Comparison`."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bridge.core.examine import remarks
from bridge.core.method import Method
from bridge.core.parameters import check_seed, check_whole
from bridge.core.preflight import check_needs
from bridge.core.types import BridgeWarning, Failure
from bridge.fused import run_many
from bridge.record import manifest
from bridge.study.comparison import Comparison
from bridge.study.interruption import interruptible
from bridge.study.judge import judge
from bridge.study.keep import keeper
from bridge.study.measure import Batch, Timing, Trial, measure
from bridge.study.question import question
from bridge.study.request import Epsilons, Functions, Params, Request, checked
from bridge.tables import Evidence, Table, tables

SPENT = ("seconds", "forwards", "backwards")


@dataclass(frozen=True)
class Setting:
    """What all trials of a comparison share; `wide` is None where the model cannot be copied."""

    batch: Batch
    wide: Batch | None
    timing: Timing


@torch.inference_mode(False)
def compare(
    model: nn.Module,
    x: Tensor,
    labels: Any = None,
    *,
    methods: Sequence[str] | None = None,
    implementations: Sequence[str] | None = None,
    functions: Functions | None = None,
    target: Any = None,
    params: Params | None = None,
    epsilons: Epsilons | None = None,
    repeats: int = 3,
    timing_seconds: float = float("inf"),
    seed: int = 0,
    keep: str | Path | None = None,
    progress: bool = True,
) -> Comparison:
    """Every method by every implementation on one batch of images: a `Comparison`.

    `x` (n, c, h, w) within the model's bounds, `labels` (n,). Attributions explain `target` (n,)
    (default: `labels`), attacks start from `labels`. With `target="predicted"`, and without labels,
    both take the class that the model predicts, and the comparison says so first. `methods` and
    `implementations` default to all there are; `functions={"fgsm": mine}` adds your own.
    `params={"pgd": {"steps": 10}}` changes parameters. `epsilons` is a list for the Linf attacks,
    or {"linf": [...], "l2": [...], "pgd": [...]} by norm or method.

    Times are medians of `repeats`, in turns, after a first call of each. An implementation is not
    timed again once it has taken `timing_seconds`, nor at all where its first call took three times
    that. What raises becomes a row of `failures`. Ctrl-C ends it with all that is finished, and
    `.finished` is False; a second one, while the tables are filled, ends it at once. What ends
    without warning (no memory, a kill) loses only the method in hand with `keep`: a run directory,
    to which parts are written as it goes, and `.save(keep)` the whole in place of them.

    Raises KeyError, TypeError or ValueError for a request that makes no sense, before anything
    runs: unknown names, parameters outside their domain, images, labels or a model that do not fit.
    Warns where the model gets less than a fifth of five images or more right.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> c = bridge.compare(model, x, labels, methods=["saliency"], repeats=1, progress=False)
    >>> c.verdicts().loc["saliency"].to_dict(), c.right
    ({'fused': 'equal', 'captum': 'equal'}, (2, 2))
    """
    with interruptible():
        repeats, seed = check_whole("repeats", repeats, 1), check_seed(seed)
        if not isinstance(timing_seconds, int | float):
            raise TypeError(f"timing_seconds must be a number, got {timing_seconds!r}")
        if not timing_seconds >= 0:  # NaN neither
            raise ValueError(f"timing_seconds must be 0 or more, got {timing_seconds}")
        asked = question(model, x, labels, target)
        request = checked(
            asked.x, asked.model.bounds, methods, implementations, functions, params, epsilons
        )
        card = manifest.describe(asked.model, asked.x)
    evidence = Evidence(
        asked.model, asked.x, asked.labels, asked.target, seed, request.params, asked.labelled
    )
    evidence.failures += [
        Failure("", "", "model", BridgeWarning.__name__, text)
        for text in remarks(asked.model, asked.x)
    ]
    card |= {"id": uuid.uuid4().hex, "seed": seed, "repeats": repeats}
    card |= request.described() | asked.described()

    def compared(part: Evidence, whole: Evidence) -> Comparison:
        """The tables and outputs of a part, and what is said of the whole."""
        tables = tabulate(part)  # which may find that it was stopped
        recorded = manifest.plain(card | _finish(whole, request))
        return Comparison(tables, part.x.cpu(), part.labels.cpu(), part.outputs, recorded)

    kept = _keep_nothing if keep is None else keeper(keep, evidence, compared)
    try:
        with interruptible():
            timing = Timing(repeats, timing_seconds)
            card["together"] = _fill(evidence, request, timing, progress, kept)
    except KeyboardInterrupt as error:
        evidence.stop(error)
    return compared(evidence, evidence)


def _fill(
    evidence: Evidence,
    request: Request,
    timing: Timing,
    progress: bool,
    kept: Callable[[], None],
) -> dict[str, Any]:
    """Run everything; returns what all fused methods took in one plan."""
    batch = Batch(evidence.model, evidence.x, evidence.labels, evidence.target, evidence.seed)
    try:
        wide: Batch | None = batch.wide()
    except Exception as error:
        evidence.failed("", "", "float64 copy", error)
        wide = None
    setting = Setting(batch, wide, timing)
    quiet = None if progress else True  # None: where nobody watches
    bar = tqdm(request.methods, file=sys.stderr, disable=quiet, unit="method", leave=False)
    try:
        for method in bar:
            bar.set_description(method.name)
            _run(evidence, request, setting, method, kept)
        return _together(evidence, request)
    except Exception as error:  # what ran is not lost for what is computed last
        evidence.failed("", "", "one plan", error)
        return {}
    finally:
        bar.close()


def _keep_nothing() -> None:
    """Of a comparison that is in memory only."""


def _finish(evidence: Evidence, request: Request) -> dict[str, Any]:
    """Whether all ran that was asked for, and what did not, for the manifest."""
    if not evidence.stopped:
        return {"finished": True}
    cells = [
        (method.name, name, epsilon)
        for method in request.methods
        for epsilon in request.epsilons[method.name]
        for name in request.by_name(method)
    ]
    ran = set(evidence.outputs)
    failed = {(each.method, each.implementation) for each in evidence.failures}
    return {
        "finished": False,
        "stopped_by": evidence.stopped,
        "asked": len(cells),
        "ran": len(ran),
        "not_run": [cell for cell in cells if cell not in ran and cell[:2] not in failed],
    }


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
        trial = Trial(setting.batch, method, functions, params)
        # Our own code is imported already, a library by its first call.
        warm = {"reference", "fused", *(cell.implementation for cell in evidence.cells)}
        # The lists grow as it goes, so that nothing is lost where it is interrupted.
        ran, failed = len(evidence.cells), len(evidence.failures)
        measure(trial, setting.timing, warm, evidence.cells, evidence.failures)
        cells, failures = evidence.cells[ran:], evidence.failures[failed:]
        raised: list[Failure] = []  # what failed elsewhere is no matter of this one
        try:
            judge(trial, cells, failures, setting.wide, evidence.judged, raised)
        finally:
            evidence.failures += raised
        kept()


def _together(evidence: Evidence, request: Request) -> dict[str, Any]:
    """All fused methods in one plan, against the same cells one after another."""
    timed = tables()["runtime"].rows(evidence)
    ran = {row["method"] for row in timed if row["implementation"] == "fused"}
    wanted = {name: params for name, params in request.at_once().items() if name in ran}
    if len(wanted) < 2:
        return {}
    many = run_many(
        evidence.model,
        evidence.x,
        evidence.target,
        wanted,
        labels=evidence.labels,
        predict=False,
        seed=evidence.seed,
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


def tabulate(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Every table, of what there is; one that raises is empty, and a failure."""
    return {name: _tabulated(evidence, table) for name, table in tables().items()}


def _tabulated(evidence: Evidence, table: Table) -> pd.DataFrame:
    """One table. The first to be interrupted is made again, unless it takes long."""
    stage = f"table {table.name}"
    if table.long and evidence.stopped:
        evidence.failed("", "", stage, KeyboardInterrupt("left out, so as to end quickly"))
        return table.frame()
    try:
        with interruptible() if table.long else nullcontext():
            return table.frame(table.rows(evidence))
    except KeyboardInterrupt as error:
        if evidence.stopped:  # asked twice: ends at once
            raise
        evidence.stop(error)
        return _tabulated(evidence, table)
    except Exception as error:
        evidence.failed("", "", stage, error)
        return table.frame()
