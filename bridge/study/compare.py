"""Many methods, each by many implementations, on one batch: a `Comparison`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from bridge.core.examine import remarks
from bridge.core.parameters import check_seed, check_whole
from bridge.core.types import BridgeWarning, Failure
from bridge.record import manifest
from bridge.study.comparison import Comparison
from bridge.study.interruption import interruptible
from bridge.study.keep import keeper
from bridge.study.measure import SHORT, Timing
from bridge.study.question import question
from bridge.study.request import (
    Epsilons,
    Functions,
    Metrics,
    Params,
    Request,
    checked,
    known_metrics,
    understood,
)
from bridge.study.sample import sample
from bridge.study.stages import fill
from bridge.tables import Evidence, Table, tables


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
    metrics: Metrics | None = None,
    judged: int | str | None = None,
    time_limit: float = float("inf"),
    repeats: int = 3,
    timing_seconds: float = SHORT,
    seed: int = 0,
    keep: str | Path | None = None,
    progress: bool = True,
) -> Comparison:
    """Every method by every implementation on one batch of images: a `Comparison`.

    `x` (n, c, h, w) within the model's bounds, `labels` (n,). Attributions explain `target` (n,)
    (default: `labels`), attacks start from `labels`. With `target="predicted"`, and without labels,
    both take the class that the model predicts, and the comparison says so first. `methods` and
    `implementations` default to all there are (methods that look at attention only where there is
    some); `functions={"fgsm": mine}` adds your own: functions, classes or objects of any signature
    (see `bridge.check`).
    `params={"pgd": {"steps": 10}}` changes parameters. `epsilons` is a list for the Linf attacks,
    or {"linf": [...], "l2": [...], "pgd": [...]} by norm or method. `metrics=["deletion"]`, or
    {"deletion": {"step": 28}}, measures the attributions' maps too (see `bridge.measure`).

    Results first, proof on a sample: each method runs once on all images, by its quickest
    implementation, ours; then every implementation is held against the reference, in float64, on
    `judged` images: a number, "all" (then all run on all of them, and nothing runs twice), 0 (no
    proof), or None for as many as keep the proof's passes below the results' own, two to sixteen,
    and all of up to four. `.sample` says which. Where the quickest differs there, the results are
    computed again by the reference. `time_limit` (seconds) trims the proof, the dearest methods
    first, never the results.

    Times are medians of `repeats` on the sample, in turns, after a first call of each. An
    implementation is not timed again once it has taken `timing_seconds`; where its first call took
    that long, it is the time itself.

    What raises becomes a row of `failures`. Ctrl-C ends it with all that is finished, and
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
        for name, seconds in (("timing_seconds", timing_seconds), ("time_limit", time_limit)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise TypeError(f"{name} must be a number of seconds, got {seconds!r}")
            if not seconds >= 0:  # NaN neither
                raise ValueError(f"{name} must be 0 or more, got {seconds}")
        asked = question(model, x, labels, target)
        request = checked(
            asked.model, asked.x, methods, implementations, functions, params, epsilons
        )
        request = understood(request, asked.model, asked.x, asked.labels)
        measured = known_metrics(metrics)
        places = sample(judged, request, asked.x)
        if asked.model.habits(asked.x).batch is not None:
            places = None  # it takes no other number of images
        card = manifest.describe(asked.model, asked.x)
    evidence = Evidence(
        asked.model,
        asked.x,
        asked.labels,
        asked.target,
        seed,
        request.params,
        asked.labelled,
        places,
        measured,
    )
    evidence.failures += [
        Failure("", "", "model", BridgeWarning.__name__, text)
        for text in remarks(asked.model, asked.x)
    ]
    card |= {"id": uuid.uuid4().hex, "seed": seed, "repeats": repeats}
    card["judged"] = {"images": None if places is None else list(places), "of": len(asked.x)}
    card |= request.described() | asked.described()
    if measured:
        card["metrics"] = {name: dict(params) for name, params in measured.items()}

    def compared(part: Evidence, whole: Evidence) -> Comparison:
        """The tables and outputs of a part, and what is said of the whole."""
        tables = tabulate(
            part, [method.name for method in request.methods]
        )  # which may find that it was stopped
        recorded = manifest.plain(card | _finish(whole, request))
        return Comparison(tables, part.x.cpu(), part.labels.cpu(), part.outputs, recorded)

    kept = _keep_nothing if keep is None else keeper(keep, evidence, compared)
    try:
        with interruptible():
            timing = Timing(repeats, timing_seconds)
            card |= fill(evidence, request, timing, time_limit, progress, kept)
    except KeyboardInterrupt as error:
        evidence.stop(error)
    return compared(evidence, evidence)


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
    ran = set(evidence.outputs) | {cell.key for cell in evidence.timed}
    failed = {(each.method, each.implementation) for each in evidence.failures}
    return {
        "finished": False,
        "stopped_by": evidence.stopped,
        "asked": len(cells),
        "ran": len(ran),
        "not_run": [cell for cell in cells if cell not in ran and cell[:2] not in failed],
    }


def tabulate(evidence: Evidence, order: Sequence[str] = ()) -> dict[str, pd.DataFrame]:
    """Every table, of what there is, methods in this order; one that raises is a failure."""
    places = {name: place for place, name in enumerate(order)}
    last = len(places)
    evidence.cells.sort(key=lambda cell: places.get(cell.method.name, last))
    evidence.timed.sort(key=lambda cell: places.get(cell.method.name, last))
    evidence.judged.sort(key=lambda each: places.get(each.method, last))
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
