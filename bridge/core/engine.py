"""Run a method: the only place that seeds, freezes, times, counts, validates and detaches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.method import Method, accepts, name_of, several, sizes
from bridge.core.model import ModelAdapter, logits_of
from bridge.core.preflight import check_needs, preflight
from bridge.core.registry import get
from bridge.core.state import frozen, seeded
from bridge.core.tags import Function
from bridge.core.timer import synchronise
from bridge.core.types import Run, Unsupported


@torch.inference_mode(False)
def run(
    name: str,
    /,
    model: nn.Module,
    x: Tensor,
    target: Any,
    *,
    implementation: str | Function = "reference",
    seed: int = 0,
    **params: Any,
) -> Run:
    """One method on one batch by one implementation: a `Run`.

    `x` (n, c, h, w) within the model's bounds. `target` (n,): the class to explain, or the true
    label to attack (with `targeted=True` the class to reach). `implementation` is "reference",
    "fused", a library with a twin, or a function of the same signature. Random numbers come from
    `seed`; the random state, the model and the images are left as they were. An attack takes a list
    as `epsilon`, and its output then has a leading axis ("fused" runs them in one batch).

    Raises KeyError for an unknown method or implementation, TypeError for an unknown parameter,
    ValueError for parameters, images, labels or a model that do not fit (see
    `bridge.core.preflight`), and whatever the implementation raises.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> found = bridge.run("saliency", model, x, labels)
    >>> found.output.shape, found.forwards, found.backwards
    (torch.Size([2, 1, 28, 28]), 2, 2)
    """
    method = get(name)
    bound = method.bind(params)
    what = "target" if method.kind == "attribution" else "labels"
    adapter, images, classes = preflight(model, x, target, what=what)
    method.check(images, bound)
    check_needs(method, adapter, images)
    if isinstance(implementation, str):
        function, by = method.function(implementation), implementation
    else:
        function, by = implementation, name_of(implementation)
    return execute(method, function, by, adapter, images, classes, bound, seed)


@dataclass
class Passes:
    """Images that went forwards and backwards through the whole model."""

    forwards: int = 0
    backwards: int = 0


@contextmanager
def session(model: ModelAdapter) -> Iterator[Passes]:
    """Everything that runs on a model runs in one: gradients on, frozen, its passes counted."""
    with torch.enable_grad(), frozen(model), _counted(model) as passes:
        yield passes


def execute(
    method: Method,
    function: Function,
    implementation: str,
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    params: Mapping[str, Any],
    seed: int,
    passes: Passes | None = None,
) -> Run:
    """Run checked images through one implementation; parameters and output are checked here.

    `params` are all of the method's. Several epsilons run one after another and are stacked, unless
    the implementation takes them at once. `passes` belong to a session that is open already.
    """
    method.check(x, params)
    given = dict(params)
    if not several(given.get("epsilon")):
        return _once(method, function, implementation, model, x, target, given, seed, passes)
    given["epsilon"] = sizes(given["epsilon"])
    if getattr(function, "takes_several", False):
        return _once(method, function, implementation, model, x, target, given, seed, passes)
    runs = []
    for epsilon in given["epsilon"]:
        one = {**given, "epsilon": epsilon}
        runs.append(_once(method, function, implementation, model, x, target, one, seed, passes))
    return Run(
        method.name,
        implementation,
        given,
        torch.stack([run.output for run in runs]),
        sum(run.seconds for run in runs),
        sum(run.forwards for run in runs),
        sum(run.backwards for run in runs),
        {key: torch.stack([run.details[key] for run in runs]) for key in runs[0].details},
    )


def _once(
    method: Method,
    function: Function,
    implementation: str,
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    params: dict[str, Any],
    seed: int,
    passes: Passes | None,
) -> Run:
    """One call: seeded, frozen, timed, counted; its output checked and detached."""
    given = accepted(function, method, params)
    images, classes = x.clone(), target.clone()
    with seeded(seed), session(model) if passes is None else nullcontext(passes) as counter:
        forwards, backwards = counter.forwards, counter.backwards
        synchronise(x.device)
        start = time.perf_counter()
        returned = function(model, images, classes, **given)
        synchronise(x.device)
        seconds = time.perf_counter() - start
        spent = counter.forwards - forwards, counter.backwards - backwards
    is_pair = isinstance(returned, tuple) and len(returned) == 2
    output, details = returned if is_pair else (returned, {})
    _check_output(method, implementation, x, params, output)
    return Run(method.name, implementation, params, output.detach(), seconds, *spent, details)


def _check_output(
    method: Method, by: str, x: Tensor, params: Mapping[str, Any], output: Any
) -> None:
    """Raise TypeError or ValueError for what is no map of these images, or no images."""

    def wrong(came: object, expected: object) -> str:
        return f"{by} returned {came} for {method.name}, expected {expected}"

    if not isinstance(output, Tensor):
        raise TypeError(wrong(type(output).__name__, "a torch.Tensor"))
    if not output.is_floating_point():
        raise ValueError(wrong(output.dtype, "floating point"))
    shape = tuple(output.shape)
    if method.kind == "attribution":
        if shape[:1] != (len(x),):
            raise ValueError(wrong(f"shape {shape}", f"a map for each of {len(x)} images"))
        return
    epsilon: Any = params.get("epsilon")
    expected = (len(epsilon), *x.shape) if several(epsilon) else tuple(x.shape)
    if shape != expected:
        raise ValueError(wrong(f"images of shape {shape}", expected))
    if (output.dtype, output.device) != (x.dtype, x.device):
        came = f"{output.dtype} images on {output.device}"
        raise ValueError(wrong(came, f"{x.dtype} on {x.device}"))


def accepted(function: Function, method: Method, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters to call a function with: those it knows.

    A user's function need not know every parameter of the method, as long as the ones it does not
    know have their default value. Raises Unsupported where it would ignore a choice.
    """
    unknown = {k: v for k, v in params.items() if not accepts(function, k)}
    ignored = {k: v for k, v in unknown.items() if not _same(v, method.defaults[k])}
    if ignored:
        listed = ", ".join(f"{k}={v!r}" for k, v in ignored.items())
        raise Unsupported(f"{name_of(function)} does not take {listed}, which would be ignored")
    return {k: v for k, v in params.items() if k not in unknown}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return bool(a == b)


@contextmanager
def _counted(model: ModelAdapter) -> Iterator[Passes]:
    """Passes by a hook on the user's module, forwards, and on its logits, backwards: no noise."""
    passes = Passes()

    def forward(module: nn.Module, inputs: Any, output: Any) -> None:
        logits = logits_of(output)
        passes.forwards += len(logits)
        if logits.requires_grad:
            logits.register_hook(backward)

    def backward(gradient: Tensor) -> None:
        passes.backwards += len(gradient)

    handle = model.module.register_forward_hook(forward)
    try:
        yield passes
    finally:
        handle.remove()
