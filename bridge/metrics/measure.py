"""Measure maps: the only place that checks, freezes, seeds, counts and detaches for metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.engine import Passes, accepted, execute, session
from bridge.core.method import name_of
from bridge.core.model import ModelAdapter
from bridge.core.parameters import check_seed
from bridge.core.preflight import check_needs, preflight
from bridge.core.registry import get as method_of
from bridge.core.state import seeded
from bridge.core.tags import Function
from bridge.core.timer import synchronise
from bridge.core.turns import turn
from bridge.core.watch import watched
from bridge.metrics._curve import Curve
from bridge.metrics.registry import Metric, get


class Values(Tensor):
    """One number an image, (n,) float64; a tensor, with what came with it.

    `curve` is what the metric saw on its way, None where there is none; `forwards` and `backwards`
    count images through the model, `seconds` is wall time. What is computed of it is a plain
    tensor.
    """

    curve: Curve | None = None
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    # What is computed of it is a plain tensor, which has no curve.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


@torch.inference_mode(False)
def measure(
    name: str,
    /,
    model: nn.Module,
    x: Tensor,
    target: Any,
    maps: Tensor | str,
    *,
    implementation: str | Function = "reference",
    explain: str | tuple[str, Mapping[str, Any]] | Function | None = None,
    seed: int = 0,
    **params: Any,
) -> Values:
    """One metric of the maps of one batch: `Values`, a number an image, (n,).

    `x` (n, c, h, w) within the model's bounds, `target` (n,) the classes explained, `maps` (n, c',
    h', w') what explains them, or the name of a method, which is then run (fused, where it can be).
    Some metrics explain other images too: `explain` is the method for that, by name, by (name,
    parameters) or as f(model, x, target); where `maps` is a name, it is that one. `implementation`
    is "reference", a library with a twin, or a function f(model, x, target, maps, **params). Random
    numbers come from `seed`; model, images, maps and random state are left as they were.

    NaN where a metric is not defined (a map that is all zero). Raises KeyError for an unknown
    metric, TypeError and ValueError for parameters, images, classes or maps that do not fit.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> values = measure("deletion", model, x, labels, "integrated_gradients", step=98)
    >>> values.shape, values.curve.values.shape
    (torch.Size([2]), torch.Size([2, 9]))
    """
    check_seed(seed)
    metric = get(name)
    with turn():
        adapter, images, classes = preflight(model, x, target, what="target")
        how = _explainer(maps if explain is None else explain, adapter, classes, seed)
        if isinstance(maps, str):
            maps = Explainer(maps, adapter, classes, seed)(images)
        given = check_maps(maps, images, full="full" in metric.needs, metric=metric)
        if "explain" in metric.needs:
            if how is None:
                metric.bind(params)  # names what is missing
            params = {**params, "explain": how}
        bound = metric.bind(params)
        if isinstance(implementation, str):
            function, by = metric.function(implementation), implementation
        else:
            function, by = implementation, name_of(implementation)
        taken = accepted(function, metric.defaults, bound)
        with (
            seeded(seed),
            session(adapter) as passes,
            watched(adapter.module, when=by != "reference", kept=adapter.kept),
        ):
            found = _called(function, by, metric, adapter, images, classes, given, taken, passes)
    if how is not None:  # on other models than the one whose passes are counted
        found.forwards += how.forwards
        found.backwards += how.backwards
    return found


def _called(
    function: Function,
    by: str,
    metric: Metric,
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    params: dict[str, Any],
    passes: Passes,
) -> Values:
    """One call on copies; what it gave is checked."""
    start = time.perf_counter()
    returned = function(model, x.clone(), target.clone(), maps.clone(), **params)
    synchronise(x.device)
    seconds = time.perf_counter() - start
    pair = isinstance(returned, tuple) and len(returned) == 2
    found, curve = returned if pair else (returned, None)
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(x),):
        came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{by} gave {came} for {metric.name}, expected one number an image, (n,)")
    values = found.detach().double().cpu().as_subclass(Values)
    values.curve = curve if isinstance(curve, Curve) else None
    values.forwards, values.backwards = passes.forwards, passes.backwards
    values.seconds = seconds
    return values


def check_maps(maps: Any, x: Tensor, *, full: bool, metric: Metric) -> Tensor:
    """The maps of images x, detached: (n, c', h', w') and finite.

    With `full` of the images' own shape. Raises TypeError or ValueError for others.
    """
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        came = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise TypeError(f"maps must be a floating-point torch.Tensor (n, c, h, w), got {came}")
    if maps.ndim != 4 or len(maps) != len(x) or maps.shape[1] not in (1, x.shape[1]):
        raise ValueError(
            f"maps have shape {tuple(maps.shape)}, expected (n, c, h, w) with n = {len(x)} and 1 "
            f"or {x.shape[1]} channels" + (": pass maps[:, None]" if maps.ndim == 3 else "")
        )
    if full and maps.shape != x.shape:
        raise ValueError(
            f"{metric.name} multiplies the map with changes of each channel: it needs maps of the "
            f"images' own shape {tuple(x.shape)}, got {tuple(maps.shape)}"
        )
    maps = maps.detach().to(x.device)
    bad = ~maps.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        images = bad.nonzero()[:, 0].tolist()
        raise ValueError(f"the maps of images {images} contain NaN or infinity: leave them out")
    return maps


class Explainer:
    """What gave the maps, to explain other images, another model, or other classes."""

    def __init__(
        self,
        how: Function | str,
        model: ModelAdapter,
        target: Tensor,
        seed: int,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self._how, self._model, self._target, self._seed = how, model, target, seed
        self._params = params or {}
        self.forwards, self.backwards = 0, 0  # on other models than its own

    def __call__(
        self, x: Tensor, *, model: ModelAdapter | None = None, target: Tensor | None = None
    ) -> Tensor:
        """The maps of images x (n, c, h, w), the same random numbers each time."""
        model = self._model if model is None else model
        target = self._target if target is None else target
        if not isinstance(self._how, str):
            returned = self._how(model, x, target)
            maps: Tensor = returned[0] if isinstance(returned, tuple) else returned
            return maps
        method = method_of(self._how)
        if method.kind != "attribution":
            raise ValueError(f"{method.name} is an attack: expected an attribution, for its maps")
        check_needs(method, model, x)
        by = method.quickest
        params = method.bind(self._params)
        run = execute(method, method.function(by), by, model, x, target, params, self._seed)
        if model is not self._model:
            self.forwards += run.forwards
            self.backwards += run.backwards
        return run.output


def _explainer(given: Any, model: ModelAdapter, target: Tensor, seed: int) -> Explainer | None:
    """The explainer where there is a method's name or a function; None for maps alone."""
    if isinstance(given, Tensor) or given is None:
        return None
    if isinstance(given, tuple) and len(given) == 2:
        name, params = given
        return Explainer(name, model, target, seed, params)
    if not isinstance(given, str) and not callable(given):
        raise TypeError(f"explain must be a method's name or f(model, x, target), got {given!r}")
    return Explainer(given, model, target, seed)
