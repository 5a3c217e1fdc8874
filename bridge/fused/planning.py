"""Many methods on one batch with the fewest passes: what serves several of them is computed once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bridge.gradients import predicted
from bridge.model import ModelAdapter
from bridge.preflight import check_images, check_labels, check_logits, check_model, check_needs
from bridge.registry import Method, get
from bridge.run import Passes, counted, execute, synchronise
from bridge.shared import NEEDS, Need, Shared
from bridge.state import frozen, seeded
from bridge.types import Failure, Run

# One backward pass each; "logit_gradient" and "layer" are the same one.
BACKWARDS: dict[str, tuple[Need, ...]] = {
    "of the target's logit": ("logit_gradient", "layer"),
    "of the target's logit, guided ReLUs": ("guided_gradient",),
    "of the target's logit, deconvolution ReLUs": ("deconvolution_gradient",),
    "of the loss": ("loss_gradient",),
}


@dataclass(frozen=True)
class Task:
    """One method of a plan: its parameters, the shared passes that it needs, and its own, forwards and backwards an image."""

    method: Method
    params: Mapping[str, Any]
    needs: tuple[Need, ...]
    own: tuple[int, int] | None  # None: no fast implementation, the reference runs

    @property
    def copies(self) -> int:
        """How many images it returns for each: the epsilons of an attack."""
        return len(self.params["epsilon"]) if _several(self.params) else 1


@dataclass(frozen=True)
class Plan:
    """Which pass serves which method. `print(plan.explain())`; built by `plan`, run by `run_many`."""

    tasks: tuple[Task, ...]
    predict: bool = True

    @property
    def needs(self) -> frozenset[Need]:
        """What the shared forward pass has to give."""
        return frozenset(need for task in self.tasks for need in task.needs)

    @property
    def passes(self) -> tuple[int, int]:
        """Forwards and backwards an image, at most: the shared ones once, each method's own, a look at each attack's images."""
        forwards = sum(own[0] * task.copies for task in self.tasks if (own := task.own))
        backwards = sum(own[1] * task.copies for task in self.tasks if (own := task.own))
        return (
            bool(self.needs) + forwards + self._looks,
            sum(any(need in self.needs for need in needs) for needs in BACKWARDS.values()) + backwards,
        )

    @property
    def alone(self) -> tuple[int, int]:
        """The same where every method makes its passes for itself, as calling one after another does."""
        plans = [Plan((task,), predict=False) for task in self.tasks]
        forwards, backwards = (sum(counts) for counts in zip(*(plan.passes for plan in plans), strict=True))
        return forwards + (self.predict and bool(self.needs)) + self._looks, backwards

    @property
    def _looks(self) -> int:
        return sum(task.copies for task in self.tasks if task.method.kind == "attack") if self.predict else 0

    def explain(self) -> str:
        """The plan as text: a line a pass with the methods that it serves, the own passes of each, and the sums."""
        users = {need: [t.method.name for t in self.tasks if need in t.needs] for need in NEEDS}
        lines = ["shared passes"]
        if self.needs:
            everyone = list(dict.fromkeys(name for names in users.values() for name in names))
            lines.append(_line("1 forward", "clean images", (["predictions"] if self.predict else []) + everyone))
        for what, needs in BACKWARDS.items():
            if names := list(dict.fromkeys(name for need in needs for name in users[need])):
                lines.append(_line("1 backward", what, names))
        lines += ["", "own passes of each method, an image, at most"]
        for task in self.tasks:
            count = f"{task.copies} x " if task.copies > 1 else ""
            if task.own is None:
                text = "no fast implementation: the reference runs"
            else:
                text = f"{count}{task.own[0]} forwards, {task.own[1]} backwards" if any(task.own) else "none"
                text += "; only what a window changes, where that pays" if task.method.name.startswith("occlusion") else ""
            lines.append(_line(task.method.name, text, []))
        if self._looks:
            lines.append(_line("predictions", f"{self._looks} forwards, of the attacked images", []))
        (f, b), (f_alone, b_alone) = self.passes, self.alone
        lines += ["", f"an image: {f} forwards and {b} backwards; one method after another: {f_alone} and {b_alone}"]
        return "\n".join(lines)

    __str__ = explain


def _several(params: Mapping[str, Any]) -> bool:
    """Whether an attack was asked for several epsilons at once."""
    epsilon: Any = params.get("epsilon")
    return np.ndim(epsilon) > 0


def _line(what: str, text: str, serves: list[str]) -> str:
    return f"  {what:<22} {text:<44} {'-> ' + ', '.join(serves) if serves else ''}".rstrip()


def plan(methods: Mapping[str, Mapping[str, Any]], x: Tensor, *, predict: bool = True) -> Plan:
    """The plan for `{method: params}` on images like `x`. Raises KeyError or TypeError for a method or parameter unknown."""
    tasks = []
    for name, given in methods.items():
        method = get(name)
        params = method.bind(given)
        if _several(params):
            params["epsilon"] = [float(e) for e in params["epsilon"]]
        if method.fast:
            fast = method.fast[0]
            tasks.append(Task(method, params, fast.needs(**params), fast.passes(x, **params)))
        else:
            tasks.append(Task(method, params, (), None))
    return Plan(tuple(tasks), predict)


@dataclass(frozen=True)
class Many(Mapping[str, Run]):
    """What `run_many` found: `many["pgd"]` is a Run; besides `logits`, `predictions`, `failures` and the `plan`.

    `predictions["clean"]` (n,) and `predictions[attack]` (n,), or (k, n) for k epsilons, are the classes that the model gives.
    A method's `seconds` are its own work; `shared_seconds` are the shared passes. `forwards` and `backwards` are images
    through the model, all together.
    """

    plan: Plan
    runs: dict[str, Run]
    logits: Tensor | None
    predictions: dict[str, Tensor]
    failures: list[Failure]
    seconds: float
    shared_seconds: float
    forwards: int
    backwards: int

    def __getitem__(self, name: str) -> Run:
        return self.runs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


@torch.inference_mode(False)
def run_many(
    model: nn.Module, x: Tensor, target: Any, methods: Mapping[str, Mapping[str, Any]], *, labels: Any = None,
    predict: bool = True, seed: int = 0,
) -> Many:  # fmt: skip
    """Many methods `{name: params}` on one batch by the fused implementations, with shared passes: a mapping to Runs.

    Attributions explain `target` (n,), attacks start from `labels` (default: `target`); an attack takes a list as `epsilon`.
    With `predict` the attacked images are classified too, and the clean ones where a method needs their forward pass anyway.
    Each method starts from the random state of `seed`, as with `run`. A method that raises is left out and stands in
    `.failures`. Raises what `run` raises for bad input.
    """
    start = time.perf_counter()
    adapter = check_model(model)
    images = check_images(adapter, x)
    planned = plan(methods, images, predict=predict)
    runs: dict[str, Run] = {}
    predictions: dict[str, Tensor] = {}
    failures: list[Failure] = []
    with torch.enable_grad(), frozen(adapter), counted(adapter) as passes:
        # The first time that a model sees such images, this forward pass also tells what preflight has to know.
        shared = _forward(adapter, images, planned)
        classes = check_logits(adapter, adapter.facts(images))
        explained = check_labels(target, images, classes, "target")
        attacked = explained if labels is None else check_labels(labels, images, classes)
        shared.differentiate(explained, attacked)
        shared_seconds = time.perf_counter() - start
        logits = shared["logits"] if planned.needs else None
        if predict and logits is not None:
            predictions["clean"] = predicted(logits)
        for task in planned.tasks:
            name = task.method.name
            try:
                check_needs(task.method, adapter, images)
                runs[name] = _run(task, shared, seed, passes)
                if predict and task.method.kind == "attack":
                    predictions[name] = _classes(adapter, runs[name].output, images)
            except Exception as error:
                failures.append(Failure(name, "fused", "run", type(error).__name__, str(error)))
    synchronise(x.device)
    return Many(
        planned, runs, logits, predictions, failures, time.perf_counter() - start, shared_seconds, passes.forwards,
        passes.backwards,
    )  # fmt: skip


def _forward(adapter: ModelAdapter, images: Tensor, planned: Plan) -> Shared:
    try:
        return Shared(adapter, images, planned.needs)
    except RuntimeError as error:
        raise ValueError(f"the model cannot take images of shape {tuple(images.shape)}: {error}") from error


def _run(task: Task, shared: Shared, seed: int, passes: Passes) -> Run:
    """One task on the shared passes; the reference where there is no fast implementation."""
    method, params = task.method, dict(task.params)
    if not method.fast:
        return _reference(task, shared, seed)
    forwards, backwards, start = passes.forwards, passes.backwards, time.perf_counter()
    with seeded(seed):
        returned = method.fast[0].function(shared, **params)
    synchronise(shared.x.device)
    output, details = returned if isinstance(returned, tuple) else (returned, {})
    seconds = time.perf_counter() - start
    spent = passes.forwards - forwards, passes.backwards - backwards
    return Run(method.name, "fused", params, output.detach(), seconds, *spent, details)


def _reference(task: Task, shared: Shared, seed: int) -> Run:
    method = task.method
    classes = shared.labels if method.kind == "attack" else shared.target
    several = task.params["epsilon"] if _several(task.params) else [task.params.get("epsilon")]
    runs = [
        execute(
            method, method.reference, "reference", shared.model, shared.x, classes,
            {**task.params, "epsilon": e} if method.kind == "attack" else task.params, seed,
        )
        for e in several
    ]  # fmt: skip
    if not _several(task.params):
        return runs[0]
    return Run(
        method.name, "reference", task.params, torch.stack([r.output for r in runs]), sum(r.seconds for r in runs),
        sum(r.forwards for r in runs), sum(r.backwards for r in runs), {},
    )  # fmt: skip


@torch.no_grad()
def _classes(adapter: ModelAdapter, output: Tensor, images: Tensor) -> Tensor:
    """The classes of attacked images, one batch an epsilon."""
    if output.ndim == images.ndim:
        return predicted(adapter(output))
    return torch.stack([predicted(adapter(each)) for each in output])
