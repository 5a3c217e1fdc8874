"""Run one method once: the only place that seeds, freezes, times, synchronises, counts passes and detaches."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bridge.model import ModelAdapter, logits_of
from bridge.preflight import check_needs, preflight
from bridge.registry import Function, Method, get
from bridge.state import frozen, seeded
from bridge.types import Run, Unsupported


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
    """One method on one batch by one implementation: `.output`, `.seconds`, `.forwards`, `.backwards`, `.details`.

    `target` (n,): the class to explain, or the true label to attack (with `targeted=True` the class to reach).
    `implementation` is "reference", "fused", a library with a twin, or a function of the same signature. Random numbers come
    from `seed`; the random state, the model and the images are left as they were. An attack takes a list as `epsilon`, and
    its output then has a leading axis ("fused" runs them in one batch). Raises KeyError for an unknown method or
    implementation, TypeError for an unknown parameter, ValueError for images, labels or a model that do not fit (see
    bridge.preflight), and whatever the implementation raises.
    """
    definition = get(name)
    bound = definition.bind(params)
    what = "target" if definition.kind == "attribution" else "labels"
    adapter, images, classes = preflight(model, x, target, what=what)
    check_needs(definition, adapter, images)
    if isinstance(implementation, str):
        function, by = definition.function(implementation), implementation
    else:
        function, by = implementation, name_of(implementation)
    epsilon: Any = bound.get("epsilon")
    if np.ndim(epsilon) == 0 or (implementation == "fused" and len(epsilon)):
        if np.ndim(epsilon):
            bound["epsilon"] = [float(each) for each in epsilon]
        return execute(definition, function, by, adapter, images, classes, bound, seed)
    runs = [
        execute(definition, function, by, adapter, images, classes, {**bound, "epsilon": float(each)}, seed) for each in epsilon
    ]
    if not runs:
        raise ValueError("epsilon is an empty list: pass one size, or several")
    return Run(
        name, by, bound, torch.stack([r.output for r in runs]), sum(r.seconds for r in runs),
        sum(r.forwards for r in runs), sum(r.backwards for r in runs),
        {key: torch.stack([r.details[key] for r in runs]) for key in runs[0].details},
    )  # fmt: skip


def name_of(function: Function) -> str:
    """How a user's function is called in tables."""
    return getattr(function, "__name__", type(function).__name__)


def execute(
    method: Method,
    function: Function,
    implementation: str,
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    params: Mapping[str, Any],
    seed: int,
) -> Run:
    """Run checked inputs through one implementation: seeded, frozen, timed, counted; the output checked and detached."""
    given = accepted(function, method, params)
    images, classes = x.clone(), target.clone()
    with torch.enable_grad(), seeded(seed), frozen(model), counted(model) as passes:
        synchronise(x.device)
        start = time.perf_counter()
        returned = function(model, images, classes, **given)
        synchronise(x.device)
        seconds = time.perf_counter() - start
    output, details = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, {})
    if not isinstance(output, Tensor):
        raise TypeError(f"{implementation} returned {type(output).__name__} for {method.name}, expected a torch.Tensor")
    epsilon: Any = params.get("epsilon")
    expected = (len(epsilon), *x.shape) if np.ndim(epsilon) else tuple(x.shape)
    if method.kind == "attack" and output.shape != expected:
        raise ValueError(
            f"{implementation} returned images of shape {tuple(output.shape)} for {method.name}, expected {expected}"
        )
    if method.kind == "attack" and (output.dtype, output.device) != (x.dtype, x.device):
        raise ValueError(
            f"{implementation} returned {output.dtype} images on {output.device} for {method.name}, expected {x.dtype} on "
            f"{x.device}"
        )
    if not output.is_floating_point():
        raise ValueError(f"{implementation} returned {output.dtype} for {method.name}, expected floating point")
    if not output.ndim or (method.kind == "attribution" and len(output) != len(x)):
        raise ValueError(f"{implementation} returned shape {tuple(output.shape)} for {method.name} of {len(x)} images")
    return Run(method.name, implementation, dict(params), output.detach(), seconds, passes.forwards, passes.backwards, details)


def accepts(function: Function, parameter: str) -> bool:
    """Whether a function can be called with this keyword."""
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # builtins and some callables hide their signature
        return True
    return any(p.name == parameter or p.kind is inspect.Parameter.VAR_KEYWORD for p in known)


def accepted(function: Function, method: Method, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters to call a function with: those it knows. Raises Unsupported where it would ignore a choice.

    A user's function need not know every parameter of the method, as long as the ones it does not know have their
    default value.
    """
    defaults = method.defaults
    ignored = {k: v for k, v in params.items() if not accepts(function, k) and not _same(v, defaults[k])}
    if ignored:
        raise Unsupported(
            f"{name_of(function)} does not take {', '.join(f'{k}={v!r}' for k, v in ignored.items())}, which would be ignored"
        )
    return {k: v for k, v in params.items() if accepts(function, k)}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return bool(a == b)


@dataclass
class Passes:
    """Images that went forwards and backwards through the whole model."""

    forwards: int = 0
    backwards: int = 0


@contextmanager
def counted(model: ModelAdapter) -> Iterator[Passes]:
    """Count passes by a hook on the user's module, forwards, and on its logits, backwards: free of noise, unlike time."""
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


def synchronise(device: torch.device) -> None:
    """Wait for a GPU, whose calls return before their work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
