"""What a study is asked for, checked before anything runs, and its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bridge.core.method import name_of
from bridge.core.model import ModelAdapter
from bridge.core.preflight import check_needs
from bridge.core.state import seeded
from bridge.fused.planning import Plan, Task, task_of
from bridge.record.manifest import PACKAGES, versions
from bridge.study.at_once import batch_of
from bridge.study.request import Epsilons, Metrics, Params, Request, checked
from bridge.study.whole.identity import SEED_RULE, stated, weights_of
from bridge.study.whole.measured import asked_metrics
from bridge.study.whole.parts import TENSORS
from bridge.study.whole.place import sha256
from bridge.study.whole.work import PREDICTED, Work

WIDTHS = ("float32", "float16", "uint8")
# Images of a part, and bytes of what is kept of it, at least and at most: it is what a kill loses.
IMAGES, KEPT = 256, 2**28


@dataclass(frozen=True)
class Asked:
    """Everything that decides the numbers of a study, and of what size its pieces are."""

    request: Request
    work: Work
    left_out: Mapping[str, str]  # methods that this model cannot run, and why
    batch_size: int
    part_size: int

    @property
    def plan(self) -> Plan:
        """Its passes."""
        return Plan(self.work.tasks)


def ask(
    model: ModelAdapter,
    x: Tensor,
    *,
    methods: Sequence[str] | None,
    params: Params | None,
    epsilons: Epsilons | None,
    target: Any,
    labelled: bool,
    keep: Sequence[str] | str,
    batch_size: int | None,
    part_size: int | None,
    seed: int,
    metrics: Metrics | None = None,
    second: ModelAdapter | None = None,
) -> Asked:
    """What is run on images like x (n, c, h, w). Raises what `compare` raises for such a request.

    A method that this model cannot run is left out where all were asked for, and refused where it
    was named.
    """
    request = checked(model, x, methods, None, None, params, epsilons)
    left_out, tasks = {}, []
    for method in request.methods:
        try:
            check_needs(method, model, x)
            found = [task_of(method.name, given, x) for given in _given(request, method.name, x)]
        except ValueError as error:
            if methods is not None:
                raise ValueError(f"{method.name} cannot run on {model.name}: {error}") from error
            left_out[method.name] = str(error)
            continue
        tasks += found
    if not (target in (None, "labels", PREDICTED) or isinstance(target, int)):
        raise ValueError(
            f"unknown target {target!r}: expected None (the labels), 'predicted' or one class"
        )
    chosen = None if target == "labels" else target
    widths = kept(keep)
    measured = asked_metrics(metrics, tuple(tasks))
    work = Work(
        model, tuple(tasks), chosen, labelled, seed, widths, metrics=measured, second=second
    )
    size = batch_size or batch_of(x)
    return Asked(request, work, left_out, size, part_size or part_of(x, tasks, widths, size))


def _given(request: Request, name: str, x: Tensor) -> list[dict[str, Any]]:
    """The parameters of a method's tasks: one for all epsilons, or one for each where it draws."""
    method = next(each for each in request.methods if each.name == name)
    if method.kind != "attack":
        return [dict(request.params[name])]
    epsilons = list(request.epsilons[name])
    each = [{**request.params[name], "epsilon": epsilon} for epsilon in epsilons]
    if len(epsilons) == 1 or None in epsilons:
        return each
    with seeded(0):  # numbers that depend on epsilon cannot be given for several at once
        draws = method.draw is not None and bool(method.draw(x[:1], **each[0]))
    return each if draws else [{**request.params[name], "epsilon": epsilons}]


def kept(keep: Sequence[str] | str) -> dict[str, str]:
    """What is kept, and how wide: {"maps": "float32"}.

    >>> kept("maps,adversarials:uint8")
    {'maps': 'float32', 'adversarials': 'uint8'}
    """
    found = {}
    for each in keep.split(",") if isinstance(keep, str) else keep:
        what, _, width = each.strip().partition(":")
        if not what:
            continue
        if what not in TENSORS or (width or "float32") not in WIDTHS:
            raise ValueError(
                f"cannot keep {each!r}: expected {' or '.join(TENSORS)}, with "
                f"{', '.join(':' + width for width in WIDTHS)} behind it or nothing"
            )
        found[what] = width or "float32"
    return found


def part_of(x: Tensor, tasks: Sequence[Task], widths: Mapping[str, str], batch: int) -> int:
    """How many images a part has: some 256 in whole batches, fewer where much is kept of each."""
    size = {"float32": 4, "float16": 2, "uint8": 1}
    attacks = sum(task.copies for task in tasks if task.method.kind == "attack")
    maps = sum(task.method.kind == "attribution" for task in tasks)
    counts = {"maps": maps, "adversarials": attacks}
    each = sum(counts[what] * size[width] for what, width in widths.items()) * x[0].numel()
    most = min(IMAGES, KEPT // each) if each else IMAGES
    return max(1, -(-max(1, most) // batch)) * batch


def configuration(
    asked: Asked, listing: str, data: Mapping[str, Any], judged: int
) -> dict[str, Any]:
    """All that decides the numbers, in JSON's types."""
    work, model = asked.work, asked.work.model
    described = {
        "methods": {
            method.name: {
                "params": asked.request.params[method.name],
                "epsilons": asked.request.epsilons[method.name],
            }
            for method in asked.request.methods
            if method.name not in asked.left_out
        },
        "target": work.target or "labels",
        "seed": work.seed,
        "seed_rule": SEED_RULE,
        "judged": judged,
        "keep": work.keep,
        "part_size": asked.part_size,
        "data": {**data, "listing": listing},
        "model": {
            "class": type(model.module).__name__,
            "weights": weights_of(model.module),
            "layer": model.layer,
            **({} if model.reshape is None else {"reshape": name_of(model.reshape)}),
            "bounds": model.bounds,
            "mean": None if model.mean is None else model.mean.flatten().tolist(),
            "std": None if model.std is None else model.std.flatten().tolist(),
            "dtype": model.dtype,
        },
        **({"metrics": work.metrics} if work.metrics else {}),
        **({"transfer": _second(work.second)} if work.second is not None else {}),
        "versions": {name: versions(PACKAGES)[name] for name in ("gradbridge", "torch")},
    }
    found: dict[str, Any] = json.loads(json.dumps(stated(described)))
    return found


def _second(model: ModelAdapter) -> dict[str, Any]:
    """What decides the numbers of a second model."""
    mean, std = (None if v is None else v.flatten().tolist() for v in (model.mean, model.std))
    return {"name": model.name, "weights": weights_of(model.module), "mean": mean, "std": std}


def fingerprint(configured: Mapping[str, Any]) -> str:
    """The hash of a configuration."""
    return sha256(json.dumps(configured, sort_keys=True).encode())


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What is not the same in two configurations, a line each.

    >>> differences({"seed": 0, "data": {"images": 2}}, {"seed": 1, "data": {"images": 2}})
    ['seed was 0 and is 1']
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for key in dict.fromkeys([*before, *now]):
            inside = f"{where}.{key}" if where else str(key)
            if key not in before or key not in now:
                has = "there now and was not before" if key in now else "not there any more"
                found.append(f"{inside} is {has}")
            else:
                found += differences(before[key], now[key], inside)
        return found
    return [] if before == now else [f"{where} was {_short(before)} and is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
