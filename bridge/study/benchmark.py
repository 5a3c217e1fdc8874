"""Methods x implementations x batch sizes: interleaved times, passes, memory, and agreement."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from bridge.core.errors import describe
from bridge.core.method import Method, name_of
from bridge.core.model import ModelAdapter
from bridge.core.parameters import check_seed, check_whole
from bridge.core.preflight import check_needs, preflight, without_attention
from bridge.core.registry import get
from bridge.core.tags import Function
from bridge.core.types import Run
from bridge.fused import run_many
from bridge.fused.accelerate import ACCELERATIONS, accelerated
from bridge.metrics.agreement import gaps, image_scale
from bridge.record import manifest
from bridge.study.bench import NAN, Bench, Row, Timed, in_turns, limit_row, rows_of
from bridge.study.benchmark_record import COLUMNS, FAILURES, Benchmark
from bridge.study.interruption import end_if_asked, interruptible
from bridge.study.judge import judge
from bridge.study.limit import fastest_passes
from bridge.study.measure import Batch, Timing, Trial, measure
from bridge.study.request import expect_known, known_implementations, known_methods

TOGETHER = "all together"
LIBRARIES = "libraries"
# An answer is judged in float64 on this many images: it does not depend on how many there are, and
# the time does.
JUDGED = 2


@torch.inference_mode(False)
def benchmark(
    models: Mapping[str, ModelAdapter],
    images: Callable[[str, int], tuple[Tensor, Tensor]],
    *,
    methods: Sequence[str] | None = None,
    implementations: Sequence[str] | None = None,
    functions: Mapping[str, Sequence[Function]] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    batches: Sequence[int] = (8,),
    accelerations: Sequence[str] = (),
    rounds: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> Benchmark:
    """Times of methods by their implementations, taken in turns in one process: a `Benchmark`.

    `images(model name, n)` gives n images (n, c, h, w) and labels (n,) on the model's device.
    `functions={"pgd": [theirs]}` adds others. `accelerations` ("compile", "bf16", "cuda_graph") add
    "fused+..." columns with the agreement that they cost. Every method runs at its default epsilon.
    What raises is left out and stands in `failures`; Ctrl-C keeps what is there. Use one thread
    (torch.set_num_threads(1)) where other processes are at work.

    Raises KeyError or TypeError for a method or parameter unknown, ValueError for parameters or
    images that make no sense.
    """
    _check(models, images, functions or {}, batches, accelerations)
    check_whole("rounds", rounds, 1)
    check_seed(seed)
    chosen = known_methods(methods)
    known_implementations(implementations)
    given = {m.name: m.bind((params or {}).get(m.name, {})) for m in chosen}
    for name in (*(functions or {}), *(params or {})):
        expect_known(name, given, "among the methods that are timed")
    rows: list[Row] = []
    failures: list[Row] = []
    described: dict[str, Any] = {}
    bar = tqdm(
        total=len(models) * len(batches) * (len(chosen) + 1),
        file=sys.stderr,
        disable=None if progress else True,
        unit="cell",
        leave=False,
    )

    def time_batch(name: str, n: int) -> None:
        """One model on n images."""
        given_images = images(name, n)
        if not isinstance(given_images, tuple | list) or len(given_images) != 2:
            raise TypeError("images(model name, n) must return images and labels")
        adapter, x, labels = preflight(models[name], *given_images)
        described.update(described or manifest.describe(adapter, x))
        for method in chosen if not rows else ():
            if (params or {}).get(method.name):  # a mistake of the caller's ends it, before it runs
                method.check(x, given[method.name])
        bench, raised = _bench(name, Batch(adapter, x, labels, labels, seed), accelerations, rounds)
        failures.extend(raised)
        first = len(rows)
        for method in chosen:
            end_if_asked()
            if methods is None and without_attention(method, adapter, x):
                bar.update()
                continue
            bar.set_description(f"{name} {n} {method.name}")
            by_name = _by_name(method, implementations, functions or {})
            # Nobody watches the weights around a call whose time is taken from outside.
            trial = Trial(bench.batch, method, by_name, given[method.name], watch=False)
            keep(*_measure(bench, trial))
        bar.set_description(f"{name} {n} {TOGETHER}")
        keep(*_together(bench, {m: given[m] for m in _both_ran(rows[first:])}))

    def keep(found: list[Row], raised: list[Row]) -> None:
        rows.extend(found)
        failures.extend(raised)
        bar.update()

    stopped = ""
    try:
        with interruptible():
            for name, n in ((name, n) for name in models for n in batches):
                try:
                    time_batch(name, n)
                except Exception as error:
                    if not rows:  # what makes no sense is refused, where nothing is lost by it
                        raise
                    failures.append(_failed(name, f"{n} images", describe(error)))
    except KeyboardInterrupt as error:
        if not rows:
            raise
        stopped = str(error) or "Ctrl-C"
        failures.append(_failed("", "", f"stopped by {stopped}: what follows was not run"))
    finally:
        bar.close()
    described |= {"methods": given, "rounds": rounds, "seed": seed, "batches": list(batches)}
    described |= {"finished": not stopped, "stopped_by": stopped}
    return Benchmark(
        pd.DataFrame(rows, columns=COLUMNS),
        pd.DataFrame(failures, columns=FAILURES),
        manifest.plain(described),
    )


def _check(
    models: Any, images: Any, functions: Any, batches: Any, accelerations: Sequence[str]
) -> None:
    """Raise TypeError or ValueError for what cannot be timed, before anything is."""
    if not isinstance(models, Mapping):
        raise TypeError(f"models must be a mapping of names to models, got {name_of(models)}")
    if not callable(images):
        raise TypeError(f"images must be a function of a model's name and n, got {name_of(images)}")
    for name, listed in functions.items():
        if not all(map(callable, listed)):
            raise TypeError(f"functions[{name!r}] has {listed!r}, expected a list of functions")
    if not isinstance(batches, Sequence) or isinstance(batches, str):
        raise TypeError(f"batches must be a list of numbers of images, got {batches!r}")
    for n in batches:
        check_whole("a batch's number of images", n, 1)
    for what, given in (("models", models), ("batches", batches)):
        if not given:
            raise ValueError(f"{what} is empty: name at least one")
    for how in accelerations:
        expect_known(how, ACCELERATIONS, "an acceleration")


def _failed(model: str, what: str, error: str) -> Row:
    return dict(zip(FAILURES, (model, what, "", error), strict=True))


def _by_name(
    method: Method, wanted: Sequence[str] | None, functions: Mapping[str, Sequence[Function]]
) -> dict[str, Function]:
    found: dict[str, Function] = {
        i: method.function(i) for i in method.implementations() if wanted is None or i in wanted
    }
    return found | {name_of(f): f for f in functions.get(method.name, ())}


def _bench(
    name: str, batch: Batch, accelerations: Sequence[str], rounds: int
) -> tuple[Bench, list[Row]]:
    """The bench of a model and a batch; and the accelerations that it cannot have."""
    labels = batch.labels[:JUDGED]
    few = replace(batch, x=batch.x[:JUDGED], labels=labels, target=labels)
    try:
        wide: Batch | None = few.wide()
    except Exception:  # nothing is judged then, and the verdicts say so
        wide = None
    fastest = fastest_passes(batch.model, batch.x)
    faster: dict[str, Batch] = {}
    bench = Bench(name, batch, few, wide, faster, fastest, rounds)
    raised = []
    for how in accelerations:
        try:
            model = accelerated(batch.model, how, batch.x)  # type: ignore[arg-type]
            faster[f"fused+{how}"] = replace(batch, model=model)
        except Exception as error:
            raised.append(bench.failed("", f"fused+{how}", error))
    return bench, raised


def _measure(bench: Bench, trial: Trial) -> tuple[list[Row], list[Row]]:
    """All implementations of one method, and the least that it can take; what raised."""
    method = trial.method
    try:
        method.check(trial.batch.x, trial.params)
        check_needs(method, trial.batch.model, trial.batch.x)
    except ValueError as error:
        return [], [bench.failed(method.name, "", error)]
    calls = {name: partial(trial.run, name) for name in trial.functions}
    if "fused" in trial.functions:
        calls |= {name: partial(trial.run, "fused", on) for name, on in bench.faster.items()}
    baseline = next((name for name in method.twins if name in trial.functions), "reference")
    timed, failures = in_turns(bench, method.name, calls)
    rows = rows_of(bench, method.name, timed, baseline)
    verdicts = _verdicts(bench, trial) | _costs(bench, method, timed)
    for row in rows:
        row["verdict"], row["gap"] = verdicts.get(row["implementation"], ("", NAN))
    if "fused" in timed:
        run = timed["fused"].run
        rows.append(limit_row(bench, rows, run, [run]))
    return rows, failures


def _verdicts(bench: Bench, trial: Trial) -> dict[str, tuple[str, float]]:
    """The agreement of each implementation with the reference, on a few images."""
    few = replace(trial, batch=bench.few)
    cells, raised = measure(few, Timing(repeats=0))
    judged, _ = judge(few, cells, raised, bench.wide)
    found = {j.implementation: (str(j.agreement.verdict), j.agreement.gap) for j in judged}
    return {**found, "reference": ("equal", 0.0)}


def _costs(
    bench: Bench, method: Method, timed: Mapping[str, Timed]
) -> dict[str, tuple[str, float]]:
    """How far each acceleration is from the same model without it."""
    exact = timed.get("fused") or timed.get("reference")
    if exact is None:
        return {}
    expected = exact.run.output
    scale = 1.0 if method.kind == "attack" else image_scale(expected)
    found = {}
    for name in timed.keys() & bench.faster.keys():
        gap = float(gaps(timed[name].run.output, expected, scale).max())
        found[name] = f"{gap:.0e} off", gap
    return found


def _both_ran(rows: Sequence[Row]) -> list[str]:
    """The methods that a library and our fast implementation ran."""
    ran = {(row["method"], row["implementation"]) for row in rows}
    names = dict.fromkeys(row["method"] for row in rows)
    return [
        name
        for name in names
        if (name, "fused") in ran and any((name, twin) in ran for twin in get(name).twins)
    ]


def _together(
    bench: Bench, methods: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Row], list[Row]]:
    """One plan against the libraries one after another, predictions with both; what raised."""
    if len(methods) < 2:
        return [], []
    calls = {
        LIBRARIES: partial(_libraries, bench.batch, methods),
        "fused": partial(_one_plan, bench.batch, methods),
    }
    timed, failures = in_turns(bench, TOGETHER, calls)
    rows = rows_of(bench, TOGETHER, timed, LIBRARIES)
    if "fused" in timed:
        run = timed["fused"].run
        rows.append(limit_row(bench, rows, run, run.details["runs"]))
    return rows, failures


def _one_plan(batch: Batch, methods: Mapping[str, Mapping[str, Any]]) -> Run:
    many = run_many(batch.model, batch.x, batch.labels, methods, seed=batch.seed)
    spent = many.seconds, many.forwards, many.backwards
    return Run(TOGETHER, "fused", {}, batch.x, *spent, {"runs": list(many.values())})


def _libraries(batch: Batch, methods: Mapping[str, Mapping[str, Any]]) -> Run:
    """The first twin of each method, one after another, and the predictions before and after."""
    forwards, backwards = len(batch.x), 0
    with torch.no_grad():
        batch.model(batch.x)
    for name, params in methods.items():
        method = get(name)
        twin = next(iter(method.twins))
        run = Trial(batch, method, {}, params).run(twin, numbers={})
        forwards, backwards = forwards + run.forwards, backwards + run.backwards
        if method.kind == "attack":
            forwards += len(batch.x)
            with torch.no_grad():
                batch.model(run.output)
    return Run(TOGETHER, LIBRARIES, {}, batch.x, 0.0, forwards, backwards)
