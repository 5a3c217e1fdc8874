"""Many methods, each by many implementations, on one batch: a `Comparison`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bridge.core.method import Method
from bridge.core.preflight import check_labels, check_needs, preflight
from bridge.core.types import Failure
from bridge.fused import run_many
from bridge.record import manifest
from bridge.study.comparison import Comparison
from bridge.study.judge import judge
from bridge.study.measure import Batch, Timing, Trial, measure
from bridge.study.request import Epsilons, Functions, Params, Request, checked
from bridge.tables import Evidence, tables

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
    labels: Any,
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
    progress: bool = True,
) -> Comparison:
    """Every method by every implementation on one batch of images: a `Comparison`.

    `x` (n, c, h, w) within the model's bounds, `labels` (n,). Attributions explain `target` (n,)
    (default: `labels`), attacks start from `labels`. `methods` and `implementations` default to all
    there are; `functions={"fgsm": mine}` adds your own. `params={"pgd": {"steps": 10}}` changes
    parameters. `epsilons` is a list for the Linf attacks, or {"linf": [...], "l2": [...],
    "pgd": [...]} by norm or method.

    Times are medians of `repeats`, in turns, after a first call of each. An implementation is not
    timed again once it has taken `timing_seconds`, nor at all where its first call took three times
    that. What raises becomes a row of `failures`; Ctrl-C keeps what is there.

    Raises KeyError, TypeError or ValueError for a request that makes no sense, before anything
    runs: unknown names, parameters outside their domain, images, labels or a model that do not fit.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> c = bridge.compare(model, x, labels, methods=["saliency"], repeats=1, progress=False)
    >>> c.verdicts().loc["saliency"].to_dict()
    {'fused': 'equal', 'captum': 'equal'}
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    adapter, images, classes = preflight(model, x, labels)
    explained = classes
    if target is not None:
        count = adapter.facts(images).logits.shape[1]
        explained = check_labels(target, images, count, "target")
    request = checked(images, methods, implementations, functions, params, epsilons)
    batch = Batch(adapter, images, classes, explained, seed)
    evidence = Evidence(adapter, images, classes, explained, seed, request.params)
    try:
        wide: Batch | None = batch.wide()
    except Exception as error:
        evidence.failed("", "", "float64 copy", error)
        wide = None
    setting = Setting(batch, wide, Timing(repeats, timing_seconds))
    together = _fill(evidence, request, setting, progress)
    recorded = {
        **manifest.describe(adapter, images),
        **request.described(),
        "seed": seed,
        "repeats": repeats,
        "target": "labels" if target is None else "given",
        "together": together,
    }
    return Comparison(
        tabulate(evidence),
        images.cpu(),
        classes.cpu(),
        evidence.outputs,
        manifest.plain(recorded),
    )


def _fill(evidence: Evidence, request: Request, setting: Setting, progress: bool) -> dict[str, Any]:
    """Run everything; returns what all fused methods took in one plan. Ctrl-C ends it."""
    quiet = None if progress else True  # None: where nobody watches
    bar = tqdm(request.methods, file=sys.stderr, disable=quiet, unit="method", leave=False)
    try:
        for method in bar:
            bar.set_description(method.name)
            _run(evidence, request, setting, method)
        return _together(evidence, request)
    except KeyboardInterrupt:
        text = "interrupted: what follows was not run"
        evidence.failures.append(Failure("", "", "compare", "KeyboardInterrupt", text))
        return {}
    finally:
        bar.close()


def _run(evidence: Evidence, request: Request, setting: Setting, method: Method) -> None:
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
        cells, failures = measure(trial, setting.timing, warm)
        evidence.cells += cells
        evidence.failures += failures
        judged, failures = judge(trial, cells, failures, setting.wide)
        evidence.judged += judged
        evidence.failures += failures


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
    frames = {}
    for name, table in tables().items():
        try:
            frames[name] = table.frame(table.rows(evidence))
        except (Exception, KeyboardInterrupt) as error:
            evidence.failed("", "", f"table {name}", error)
            frames[name] = table.frame()
    return frames
