"""Many methods on one batch with the fewest passes, as planned."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.budget import check_budget
from bridge.core.engine import Passes, execute, session
from bridge.core.errors import describe
from bridge.core.examine import no_logits, refuse
from bridge.core.gradients import predicted
from bridge.core.model import ModelAdapter
from bridge.core.output import is_ours
from bridge.core.parameters import check_seed
from bridge.core.preflight import check_images, check_labels, check_logits, check_model, check_needs
from bridge.core.shared import Clean, Shared
from bridge.core.state import seeded
from bridge.core.timer import synchronise
from bridge.core.turns import turn
from bridge.core.types import Failure, Run
from bridge.core.warn import warn
from bridge.fused.planning import Plan, Task, plan


@dataclass(frozen=True)
class Many(Mapping[str, Run]):
    """What `run_many` found: `many["pgd"]` is a Run.

    `logits` (n, classes) are the clean images', None where no method needs their pass.
    `predictions["clean"]` (n,) and `predictions[attack]` (n,), or (k, n) for k epsilons, are the
    classes that the model gives. A method that raised stands in `failures`. A Run's `seconds` are
    the method's own work; `shared_seconds` are the shared passes. `forwards` and `backwards` are
    images through the model, all together.
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
    model: nn.Module,
    x: Tensor,
    target: Any,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    labels: Any = None,
    predict: bool = True,
    seed: int = 0,
) -> Many:
    """Many methods `{name: params}` on one batch, with shared passes: a mapping to Runs.

    Each is run by its fused implementation, by the reference where it has none. `x` (n, c, h, w)
    within the model's bounds. Attributions explain `target` (n,), attacks start from `labels` (n,)
    (default: `target`); an attack takes a list as `epsilon`. With `predict` the attacked images are
    classified too, and the clean ones where a method needs their forward pass anyway. Each method
    starts from the random state of `seed`, as with `run`, and the shared passes too. Threads take
    turns. Warns of outputs that are not finite.

    Raises what `run` raises for unknown methods and for parameters, images, labels or a model that
    do not fit; parameters are checked before anything is computed. A method that fails while it
    runs, or for which the model lacks something, is left out and stands in `.failures`.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> many = run_many(model, x, labels, {"saliency": {}, "fgsm": {"epsilon": [0.02, 0.1]}})
    >>> many["fgsm"].output.shape, many.predictions["fgsm"].shape
    (torch.Size([2, 2, 1, 28, 28]), torch.Size([2, 2]))
    >>> many.forwards, many.backwards
    (6, 4)
    """
    found = many_quietly(model, x, target, methods, labels=labels, predict=predict, seed=seed)
    if found.logits is not None and not bool(found.logits.isfinite().all()):
        warn(str(no_logits(~found.logits.isfinite().all(1))))
    for run in found.values():
        for each in run.noticed:
            warn(each.message)
    return found


def many_quietly(
    model: nn.Module,
    x: Tensor,
    target: Any,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    labels: Any = None,
    predict: bool = True,
    seed: int = 0,
) -> Many:
    """As `run_many`, but what was noticed stands in the Runs only, and nobody is warned."""
    check_seed(seed)
    with turn():  # to wait for other threads is no work of ours
        return _run_many(model, x, target, methods, labels, predict, seed)


def _run_many(
    model: nn.Module,
    x: Tensor,
    target: Any,
    methods: Mapping[str, Mapping[str, Any]],
    labels: Any,
    predict: bool,
    seed: int,
) -> Many:
    start = time.perf_counter()
    adapter = check_model(model)
    images = check_images(adapter, x)
    planned = plan(methods, images, predict=predict)
    for task in planned.tasks:
        check_budget(task.method, task.params.get("epsilon"), images, adapter.bounds)
    runs: dict[str, Run] = {}
    predictions: dict[str, Tensor] = {}
    failures: list[Failure] = []
    tidy = _tidy(adapter, images, planned)
    with seeded(seed, tidy=tidy), session(adapter, tidy=tidy) as passes:
        shared = _shared_passes(adapter, images, planned, target, labels)
        shared_seconds = time.perf_counter() - start
        logits = shared["logits"] if planned.needs else None
        if predict and logits is not None:
            predictions["clean"] = predicted(logits)
        for task in planned.tasks:
            name = task.method.name
            try:
                check_needs(task.method, adapter, images)
                runs[name] = serve(task, shared, seed, passes)
                if predict and task.method.kind == "attack":
                    predictions[name] = _classes(adapter, runs[name].output, images)
            except Exception as error:
                failures.append(_failure(task, error))
    synchronise(images.device)
    return Many(
        planned,
        runs,
        logits,
        predictions,
        failures,
        time.perf_counter() - start,
        shared_seconds,
        passes.forwards,
        passes.backwards,
    )


def _tidy(adapter: ModelAdapter, images: Tensor, planned: Plan) -> bool:
    """Whether the model and all that runs are known to leave nothing behind."""
    known = adapter.known(images)
    ours = (is_ours(t.method, t.method.function(t.implementation)) for t in planned.tasks)
    return known is not None and known.tidy and all(ours)


def _shared_passes(
    adapter: ModelAdapter, images: Tensor, planned: Plan, target: Any, labels: Any
) -> Shared:
    """The shared passes. The first time that a model sees such images, the forward pass also tells
    what labels have to be checked against.
    """
    try:
        clean = Clean(adapter, images, planned.needs)
    except BaseException as error:
        refuse(adapter, images, error)
    classes = check_logits(adapter, adapter.facts(images))
    explained = check_labels(target, images, classes, "target")
    attacked = explained if labels is None else check_labels(labels, images, classes)
    return clean.differentiate(explained, attacked)


def serve(task: Task, shared: Shared, seed: int, passes: Passes) -> Run:
    """One task on the shared passes, inside of the session that counts them."""
    method = task.method
    function = method.fast.on(shared) if method.fast else method.reference
    classes = shared.labels if method.kind == "attack" else shared.target
    return execute(
        method,
        function,
        task.implementation,
        shared.model,
        shared.x,
        classes,
        task.params,
        seed,
        passes,
    )


def _failure(task: Task, error: Exception) -> Failure:
    kind = type(error).__name__
    return Failure(task.method.name, task.implementation, "run", kind, describe(error))


@torch.no_grad()
def _classes(adapter: ModelAdapter, output: Tensor, images: Tensor) -> Tensor:
    """The classes of attacked images, one batch an epsilon."""
    if output.ndim == images.ndim:
        return predicted(adapter(output))
    return torch.stack([predicted(adapter(each)) for each in output])
