"""The results: each method once, for all images, by the quickest implementation of those asked for.

What is shared is computed once: the methods that need no passes of their own come first, together.
Images go through in batches, so that memory does not grow with their number but for what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bridge.core.method import Method, several
from bridge.core.output import as_one
from bridge.core.preflight import check_needs
from bridge.core.types import Failure, Run
from bridge.fused.many import many_quietly
from bridge.metrics.attack import classify
from bridge.study.at_once import batch_of
from bridge.study.interruption import end_if_asked
from bridge.study.measure import Batch, Trial
from bridge.study.request import Request
from bridge.study.sample import alone
from bridge.tables import Cell, Evidence, epsilon_text, failure

QUICKEST = ("fused", "reference")

Found = tuple[list[Cell], list[Failure]]


def quickest(names: Sequence[str]) -> str:
    """Of a method's implementations the one that gives its results: ours, before others."""
    return next((name for name in QUICKEST if name in names), names[0])


def in_order(request: Request, x: Tensor) -> list[list[Method]]:
    """The methods as they are computed: first what shares all its passes, then by their passes."""
    asked = [method for method in request.methods if request.by_name(method)]
    own = {method.name: _own(request, method, x) for method in asked}
    shared = [method for method in asked if own[method.name] == 0]
    dear = sorted((m for m in asked if own[m.name]), key=lambda m: own[m.name])
    return [group for group in (shared, *([method] for method in dear)) if group]


def _own(request: Request, method: Method, x: Tensor) -> float:
    """Passes that a method does not share with others."""
    if quickest(list(request.by_name(method))) != "fused":
        return float("inf")
    (task,) = alone(request, method, x).tasks
    return task.copies * sum(task.own or (0,))


def parts(batch: Batch) -> Iterator[Batch]:
    """The batch in parts that go through at once, each from a seed of its own."""
    size = batch.model.habits(batch.x).batch or batch_of(batch.x)
    for number, first in enumerate(range(0, len(batch.x), size)):
        yield replace(batch.of(slice(first, first + size)), seed=batch.seed + number)


def computed(request: Request, batch: Batch, methods: Sequence[Method]) -> Found:
    """These methods on all images: a cell each and epsilon, with its output on the CPU."""
    cells: list[Cell] = []
    failures: list[Failure] = []
    fused: dict[str, Mapping[str, Any]] = {}
    for method in methods:
        functions = request.by_name(method)
        try:
            check_needs(method, batch.model, batch.x)
        except ValueError as error:
            failures += [failure(method.name, name, "preflight", error) for name in functions]
            continue
        name = quickest(list(functions))
        if name == "fused":
            fused[method.name] = request.whole(method)
        else:
            _add(method, name, _by_one(request, batch, method, name), cells, failures)
    by_fused = _by_fused(batch, fused)
    for method in (each for each in methods if each.name in by_fused):
        found = by_fused[method.name]
        _add(method, "fused", found, cells, failures)
        if isinstance(found, Failure) and "reference" in request.by_name(method):
            again = _by_one(request, batch, method, "reference")
            _add(method, "reference", again, cells, failures)
    return cells, failures


def recomputed(request: Request, batch: Batch, method: Method) -> Found:
    """A method by the reference, because its quickest implementation was found to differ."""
    cells: list[Cell] = []
    failures: list[Failure] = []
    _add(method, "reference", _by_one(request, batch, method, "reference"), cells, failures)
    return cells, failures


def _add(
    method: Method,
    name: str,
    found: dict[float | None, Run] | Failure,
    cells: list[Cell],
    failures: list[Failure],
) -> None:
    if isinstance(found, Failure):
        failures.append(found)
        return
    for epsilon, run in found.items():
        cells.append(Cell(method, name, epsilon, run))
        failures += run.noticed


def _by_fused(
    batch: Batch, wanted: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[float | None, Run] | Failure]:
    """The fused methods in one plan a part of the images; or the first failure of each."""
    runs: dict[str, list[Run]] = {name: [] for name in wanted}
    failed: dict[str, Failure] = {}
    for part in parts(batch) if wanted else ():
        end_if_asked()
        left = {name: params for name, params in wanted.items() if name not in failed}
        many = many_quietly(
            part.model,
            part.x,
            part.target,
            left,
            labels=part.labels,
            predict=False,
            seed=part.seed,
        )
        failed |= {each.method: each for each in many.failures}
        for name, run in many.items():
            runs[name].append(replace(run, output=run.output.cpu()))
    return {
        name: failed[name] if name in failed else _by_epsilon(runs[name], wanted[name])
        for name in wanted
    }


def _by_epsilon(runs: list[Run], params: Mapping[str, Any]) -> dict[float | None, Run]:
    """The runs of all parts as one, taken apart by the epsilons that ran at once."""
    if not several(params.get("epsilon")):
        return {params.get("epsilon"): _joined(runs, 0)}
    whole = _joined(runs, 1)
    return {
        size: replace(
            whole,
            params={**whole.params, "epsilon": size},
            output=whole.output[index].clone(),
            details={},
            noticed=whole.noticed if index == 0 else (),
        )
        for index, size in enumerate(params["epsilon"])
    }


def _by_one(
    request: Request, batch: Batch, method: Method, name: str
) -> dict[float | None, Run] | Failure:
    """A method by one implementation, an epsilon after another; or its failure."""
    functions = {name: request.by_name(method)[name]}
    found: dict[float | None, Run] = {}
    try:
        for params in request.given(method):
            runs = []
            for part in parts(batch):
                end_if_asked()
                trial = Trial(part, method, functions, params)
                run = trial.run(name)
                runs.append(replace(run, output=run.output.cpu()))
                size = trial.epsilon
            found[size] = _joined(runs, 0)
    except Exception as error:
        return failure(method.name, name, "run", error)
    return found


def _joined(runs: list[Run], axis: int) -> Run:
    """The runs of several parts of the images as one; `axis` is that of the images."""
    if len(runs) == 1:
        return runs[0]
    return as_one(runs, torch.cat([run.output for run in runs], axis), details={})


def first_number(evidence: Evidence, cell: Cell) -> str:
    """What is known of a result before it is tabulated, in a line."""
    name, seconds = cell.method.name, f"{cell.run.seconds:.1f} s"
    if cell.method.kind == "attribution":
        return f"  {name}: maps of {len(cell.run.output)} images, {seconds}"
    _, labels = evidence.batch(cell)
    predicted, _ = classify(evidence.model, cell.run.output.to(evidence.x.device))
    at = f" at {epsilon_text(cell.epsilon, cell.method.norm)}"
    others = int((predicted != labels).sum())
    return f"  {name}{at}: {others} of {len(labels)} images get another class, {seconds}"
