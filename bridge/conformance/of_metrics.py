"""Is this function the metric that it claims to be, and if not, what is wrong?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bridge.conformance.report import CheckReport, CheckResult
from bridge.core.errors import in_words
from bridge.core.gradients import input_gradient
from bridge.core.method import name_of
from bridge.core.model import ModelAdapter, wrap
from bridge.core.state import frozen, seeded
from bridge.core.tags import Function
from bridge.metrics.agreement import gaps
from bridge.metrics.measure import Explainer
from bridge.metrics.registry import Metric, get

# Two orders of summing a curve of thousand points in float64 differ by 1e-13 of its largest value.
EQUAL = 1e-9
DRAWS = 60  # repetitions where random numbers cannot be given, and standard errors that count
SIGMAS = 6
SHAPE = (2, 12, 10)


@dataclass(frozen=True)
class MetricWorld:
    """A small network in float64, images, classes and maps, and the metric's parameters."""

    name: str
    model: ModelAdapter
    x: Tensor
    target: Tensor
    maps: Tensor
    params: Mapping[str, Any] = field(default_factory=dict)


def check_metric(
    function: Function, name: str, *, params: Mapping[str, Any] | None = None, seed: int = 0
) -> CheckReport:
    """Whether `function(model, x, target, maps, **params)` is the metric it claims to be.

    As `bridge.check` for methods: on small float64 networks, each parameter that it takes varied.
    Where it draws and cannot be given `noise`, means over 60 seeds are compared. The cause is named
    where one known deviation explains every number.

    Raises KeyError for an unknown metric, TypeError for unknown parameters.
    """
    metric, stated = get(name), dict(params or {})
    taken = inspect.signature(function).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    known = [*metric.required, *metric.defaults]
    own = known if anything else [each for each in known if each in taken]
    for each in stated:
        if each not in known:
            raise TypeError(f"{name} has no parameter {each!r}; its parameters: {', '.join(known)}")
    places = [replace(w, params={**w.params, **stated}) for w in worlds(metric, seed)]
    results, wrong = [], []
    for world in [*places, *_varied(metric, places[0], own, stated)]:
        result = _agreement(function, metric, world, own)
        results.append(result)
        if result.status == "failed":
            wrong.append(world)
    results.append(_untouched(function, metric, places[0], own))
    cause = _cause(function, metric, wrong, [*places], own) if wrong else ""
    return CheckReport(name_of(function), name, tuple(results), cause)


def worlds(metric: Metric, seed: int) -> list[MetricWorld]:
    """Two networks with signed maps; coarse maps and maps with ties where they are taken."""
    with seeded(seed):
        smooth = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(4 * 6 * 5, 3),
        )  # fmt: skip
        linear = nn.Sequential(nn.Flatten(), nn.Linear(2 * 12 * 10, 3))
        x, target = torch.rand(5, *SHAPE, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
        signed = torch.randn(5, *SHAPE, dtype=torch.float64)
        coarse = torch.randn(5, 1, 4, 5, dtype=torch.float64)
        masks = torch.rand(5, *SHAPE[1:]) < 0.4
        # Classes near a tie: some of the noise changes the prediction, some does not.
        noise = 0.5 * torch.randn(6, *x.shape, dtype=x.dtype)
        with torch.no_grad():
            smooth.double()[-1].bias -= smooth(x).mean(0)
    found = []
    for name, network in (("a smooth network", smooth), ("a linear network", linear)):
        model, maps = wrap(network.double().eval()), signed
        params: dict[str, Any] = {}
        if "masks" in metric.needs:
            params["masks"] = masks
        if "noise" in metric.defaults:
            params["noise"] = noise
        if "explain" in metric.needs:
            explain = Explainer(_gradient_x_image, model, target, seed)
            params["explain"], maps = explain, explain(x)
        if "shuffled" in metric.needs:
            params["shuffled"] = wrap((linear if network is smooth else smooth).double().eval())
        found.append(MetricWorld(f"{name}, signed maps", model, x, target, maps, params))
    if metric.needs.isdisjoint({"full", "explain"}):
        found.append(replace(found[0], name="coarse maps", maps=coarse))
    if not metric.random and "explain" not in metric.needs:
        ties = signed.round().clamp(-1, 1).abs()
        found.append(replace(found[0], name="maps with ties", maps=ties))
    return found


def _gradient_x_image(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """A map of the model, to explain other images with."""
    with torch.enable_grad():
        return x * input_gradient(model, x, target)


def _varied(
    metric: Metric, world: MetricWorld, own: list[str], stated: Mapping[str, Any]
) -> Iterator[MetricWorld]:
    """One parameter changed at a time, for each that the function can be told."""
    for name, domain in metric.domains.items():
        if name not in own or name in stated or name in ("noise", "masks"):
            continue
        others = domain.others or tuple(c for c in domain.choices if c != metric.defaults.get(name))
        for value in others:
            yield replace(world, name=f"{name}={value!r}", params={**world.params, name: value})


def _given(
    function: Function, metric: Metric, world: MetricWorld, names: list[str]
) -> dict[str, Any]:
    """The world's parameters, of those that it takes, and ours where it has no default."""
    taken = inspect.signature(function).parameters
    bound = metric.bind(world.params)
    lacking = [name for name in names if name in taken and taken[name].default is inspect._empty]
    return {k: v for k, v in bound.items() if k in names and (k in world.params or k in lacking)}


def _run(
    function: Function, metric: Metric, world: MetricWorld, names: list[str], seed: int
) -> Tensor:
    """One call on copies, frozen and seeded: (n,) float64."""
    given = _given(function, metric, world, names)
    with seeded(seed), frozen(world.model), torch.enable_grad():
        found = function(
            world.model, world.x.clone(), world.target.clone(), world.maps.clone(), **given
        )
    values = found[0] if isinstance(found, tuple) else found
    values = torch.as_tensor(values).detach().double()
    if tuple(values.shape) != (len(world.x),):
        raise ValueError(f"gave shape {tuple(values.shape)}, expected one number an image, (n,)")
    return values


def _expected(metric: Metric, world: MetricWorld, seed: int) -> Tensor:
    bound = metric.bind(world.params)
    return _run(metric.reference, metric, replace(world, params=bound), list(bound), seed)


def _same(function: Function, metric: Metric, world: MetricWorld, own: list[str]) -> str:
    """ "" where both give the same numbers, else how they differ."""
    first = _run(function, metric, world, own, 1)
    expected = _expected(metric, world, 1)
    gap = _gap(first, expected)
    if gap <= EQUAL:
        return ""
    if not metric.random or ("noise" in metric.defaults and "noise" in own):
        return (
            f"differs by {gap:.2g} of the largest value: {_few(first)} where the reference gives "
            f"{_few(expected)}"
        )
    theirs, ours = (
        torch.stack([each(seed) for seed in range(DRAWS)])
        for each in (
            lambda seed: _run(function, metric, world, own, seed),
            lambda seed: _expected(metric, world, seed + DRAWS),
        )
    )
    error = ((theirs.var(0) + ours.var(0)) / DRAWS).sqrt().clamp(min=1e-12)
    away = float(((theirs.mean(0) - ours.mean(0)).abs() / error).max())
    if away <= SIGMAS:
        return ""
    return f"its mean over {DRAWS} seeds is {away:.0f} standard errors from the reference's"


def _agreement(
    function: Function, metric: Metric, world: MetricWorld, own: list[str]
) -> CheckResult:
    name = f"agreement: {world.name}"
    try:
        message = _same(function, metric, world, own)
    except Exception as error:  # whatever somebody's own code raises
        message = f"raised {in_words(error)}"
    return CheckResult(name, "failed" if message else "passed", message)


def _untouched(
    function: Function, metric: Metric, world: MetricWorld, own: list[str]
) -> CheckResult:
    name = "no trace: the maps and images"
    x, maps = world.x.clone(), world.maps.clone()
    given = _given(function, metric, world, own)
    try:
        with seeded(0), frozen(world.model):
            function(world.model, x, world.target.clone(), maps, **given)
    except Exception as error:
        return CheckResult(name, "failed", f"raised {in_words(error)}")
    changed = [
        what for what, now, was in (("images", x, world.x), ("maps", maps, world.maps))
        if not torch.equal(now, was)
    ]  # fmt: skip
    message = f"it writes into the {' and '.join(changed)} it is given" if changed else ""
    return CheckResult(name, "failed" if changed else "passed", message)


def _cause(
    function: Function,
    metric: Metric,
    wrong: list[MetricWorld],
    all_worlds: list[MetricWorld],
    own: list[str],
) -> str:
    """The known deviation that gives the function's numbers in every world."""
    for variant in metric.variants:
        if all(
            _explains(variant.function, function, metric, w, own) for w in (*wrong, *all_worlds)
        ):
            return variant.sentence
    return "not recognised: no known deviation gives these numbers"


def _explains(
    variant: Callable[..., Any],
    function: Function,
    metric: Metric,
    world: MetricWorld,
    own: list[str],
) -> bool:
    try:
        bound = metric.bind(world.params)
        found = _run(variant, metric, replace(world, params=bound), list(bound), 1)
        return _gap(_run(function, metric, world, own, 1), found) <= EQUAL
    except Exception:
        return False


def _gap(a: Tensor, b: Tensor) -> float:
    """The largest difference as a share of the largest value; 0 where both are NaN."""
    scale = b.abs().nan_to_num(0, 0, 0).max().clamp(min=1e-12)
    return float(gaps(a[:, None], b[:, None], scale).max())


def _few(values: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:3].tolist()) + ", ..."
