"""Integrated gradients: the mean gradient on the straight path from a baseline, times the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from bridge.attributions._baseline import baseline_images
from bridge.attributions._captum import NO_TRAPEZOID, as_baseline, at_once
from bridge.attributions._order import may_miss
from bridge.attributions._path import (
    RIEMANN,
    Rule,
    gradient_on_path,
    on_path,
    quadrature,
    requires_path,
    rules_of,
)
from bridge.core.gradients import input_gradient, target_logits
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Baseline, Domain, GradientSteps
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.core.tags import AN_IMAGE, Cases, Trap
from bridge.core.types import Unsupported
from bridge.fused.chunks import gradient_sum

Quadrature = Annotated[str, Domain(choices=("gausslegendre", *RIEMANN))]


def observed(
    asked: Sequence[Tensor], looked: Sequence[Tensor], x: Tensor, output: Tensor
) -> dict[str, list[Any]]:
    """The rule, the steps and the baseline of the straight path that the images lie on."""
    if len(asked) < 2:
        return {}
    for baseline in (0.0, 0.5, 1.0):
        points = on_path(asked, x, baseline)
        if points is not None:
            rules = rules_of(points)
            # Ends that count in full are as many points.
            return {"baseline": [baseline], "n_steps": [len(points)], "method": rules}
    return {}


def linear(w: Tensor, x: Tensor, *, baseline: float | Tensor, **_: Any) -> Tensor:
    """On logits = w x every quadrature is exact."""
    return w * (x - baseline)


@attribution(
    "integrated_gradients",
    paper="arXiv:1703.01365",
    requires=requires_path,
    axioms=("completeness", "dummy", "implementation invariance", "linearity"),
    linear=linear,
    quick={"n_steps": 12},
    quickest={"n_steps": 3},
    observed=observed,
    may_miss=may_miss,
)
def integrated_gradients(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_steps: GradientSteps = 50,
    baseline: Baseline = 0.0,
    method: Quadrature = "gausslegendre",
) -> Tensor:
    """(x - b) * integral_0^1 d logit_t / d x at (b + a (x - b)) da, same shape as x.

    `baseline` is in pixel units, a number or a tensor that broadcasts to x: 0 is black, which is
    not zero after normalisation. Completeness: the sum over an image tends to
    logit_t(x) - logit_t(b), and "fused" says by how much it misses. `n_steps` gradients a call, at
    the points of the rule `method`, in Captum's words (Sundararajan et al. 2017).

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> options = {"implementation": "fused", "n_steps": 8, "baseline": 0.5}
    >>> found = bridge.run("integrated_gradients", model, x, labels, **options)
    >>> tuple(found.output.shape), tuple(found.details["completeness"].shape)
    ((2, 1, 28, 28), (2,))
    """
    points, weights = quadrature(method, n_steps)
    return (x - baseline) * gradient_on_path(model, x, target, baseline, points, weights)


def _passes(x: Tensor, *, n_steps: int, **_: Any) -> tuple[int, int]:
    return n_steps + 1, n_steps


@integrated_gradients.fused("logits", passes=_passes)
def fused(
    shared: Shared, *, n_steps: int, baseline: float | Tensor, method: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """In the memory of one chunk.

    Its detail `completeness` is the sum of the map - (logit_t(x) - logit_t(b)), (n,).
    """
    x, target = shared.x, shared.target
    points, weights = (
        torch.tensor(values, dtype=x.dtype, device=x.device)
        for values in quadrature(method, n_steps)
    )
    start = baseline_images(x, baseline)
    way = x - start

    def on_the_way(image: Tensor, point: Tensor) -> Tensor:
        return torch.addcmul(start[image], points[point].view(-1, 1, 1, 1), way[image])

    map_ = way * gradient_sum(shared.model, x, target, on_the_way, weights)
    with torch.no_grad():
        # A number as the baseline is one image for the whole batch, not n of them.
        ends = shared.model(start if isinstance(baseline, Tensor) else start[:1]).expand(len(x), -1)
    gained = target_logits(shared["logits"], target) - target_logits(ends, target)
    return map_, {"completeness": map_.flatten(1).sum(1) - gained}


@integrated_gradients.twin("captum")
def captum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_steps: int,
    baseline: float | Tensor,
    method: str,
) -> Tensor:
    from captum.attr import IntegratedGradients

    if method == "riemann_trapezoid":
        raise Unsupported(NO_TRAPEZOID.format((n_steps - 1) / n_steps))
    return IntegratedGradients(model, multiply_by_inputs=True).attribute(
        x,
        baselines=as_baseline(baseline, x),
        target=target,
        n_steps=n_steps,
        method=method,
        internal_batch_size=at_once(x, n_steps),
    )


integrated_gradients.cases = Cases(
    "(x - b) * sum_k w_k d logit_target / d x at b + a_k (x - b), b the baseline, n = n_steps. "
    "gausslegendre: the n Gauss-Legendre nodes and weights of [0, 1]; riemann_left, _middle, "
    "_right: a_k = (k + 0, 0.5, 1) / n, w_k = 1 / n; riemann_trapezoid: a_k = k / (n - 1), "
    "w_k = 1 / (n - 1), half of it at both ends: the weights sum to 1. k = 0 ... n - 1",
    (
        *({"n_steps": 4, "method": rule} for rule in ("gausslegendre", *RIEMANN[:3])),
        {"n_steps": 5, "method": "riemann_trapezoid"},
        {"n_steps": 4, "method": "riemann_middle", "baseline": AN_IMAGE},
    ),
    traps={
        "trapezoid-weights": Trap(
            "the weights sum to 1, not to (n - 1) / n",
            (
                "it is the trapezoid rule with weights that sum to (n - 1) / n, as Captum's and "
                "Quantus' are",
            ),
        ),
        "ends-of-the-path": Trap(
            "which ends of the path are points, and with what weight",
            (
                "it uses the right Riemann rule",
                "it uses the left Riemann rule",
                "it averages n_steps equally spaced points with both ends at full weight",
            ),
        ),
    },
)


# Deviations, the likeliest first.


@integrated_gradients.variant("the factor (x - baseline) is missing")
def without_way(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_steps: int,
    baseline: float | Tensor,
    method: str,
) -> Tensor:
    return gradient_on_path(model, x, target, baseline, *quadrature(method, n_steps))


@integrated_gradients.variant("it multiplies by x instead of (x - baseline)")
def times_x(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return x * without_way(model, x, target, **params)


ASKED = "the points and weights of the rule `method` with n = n_steps; the weights sum to 1"


def with_rule(sentence: str) -> Callable[[Callable[[int], Rule]], Callable[[int], Rule]]:
    """Register a deviation in the rule: its points and weights for n_steps."""

    def register(rule: Callable[[int], Rule]) -> Callable[[int], Rule]:
        @integrated_gradients.variant(sentence, yours=rule, ours=ASKED)
        def deviating(
            model: ModelAdapter,
            x: Tensor,
            target: Tensor,
            *,
            n_steps: int,
            baseline: float | Tensor,
            method: str,
        ) -> Tensor:
            on_path = gradient_on_path(model, x, target, baseline, *rule(n_steps))
            return (x - baseline) * on_path

        return rule

    return register


def with_steps(sentence: str, steps: int | Callable[[int], int], **changes: Any) -> None:
    """Register a deviation in the number of steps: always so many, or so many for n_steps."""

    yours, ours = sentence.removeprefix("it "), "n_steps gradients, as asked"

    @integrated_gradients.variant(sentence, yours=yours, ours=ours, **changes)
    def deviating(
        model: ModelAdapter, x: Tensor, target: Tensor, *, n_steps: int, **params: Any
    ) -> Tensor:
        taken = steps if isinstance(steps, int) else steps(n_steps)
        return integrated_gradients(model, x, target, n_steps=taken, **params)


def _fewer(n_steps: int) -> int:
    return n_steps - 1


def _more(n_steps: int) -> int:
    return n_steps + 1


def _spaced(count: int) -> list[float]:
    """Equally spaced points from 0 to 1, both ends counted."""
    return [float(point) for point in np.linspace(0, 1, count)]


def _over(points: list[float], divisor: int) -> Rule:
    return points, [1 / divisor] * len(points)


NAMES = {rule: rule.removeprefix("riemann_") for rule in RIEMANN}
for _rule, _name in NAMES.items():
    _kind = "" if _name == "trapezoid" else "Riemann "
    integrated_gradients.variant(f"it uses the {_name} {_kind}rule", method=_rule)(
        integrated_gradients.reference
    )
integrated_gradients.variant("it uses the Gauss-Legendre rule", method="gausslegendre")(
    integrated_gradients.reference
)


@with_rule(
    "it drops the last of n_steps equally spaced points (both ends counted): the left Riemann rule "
    "with n_steps - 1"
)
def last_dropped(n: int) -> Rule:
    """a_k = k / (n - 1), w_k = 1 / (n - 1), k = 0 ... n - 2."""
    return _over(_spaced(n)[:-1], n - 1)


@with_rule(
    "it drops the last of n_steps equally spaced points (both ends counted) and still divides by "
    "n_steps"
)
def last_dropped_over_n(n: int) -> Rule:
    """a_k = k / (n - 1), w_k = 1 / n, k = 0 ... n - 2."""
    return _over(_spaced(n)[:-1], n)


@with_rule("it averages n_steps equally spaced points with both ends at full weight")
def full_ends(n: int) -> Rule:
    """a_k = k / (n - 1), w_k = 1 / n, k = 0 ... n - 1."""
    return _over(_spaced(n), n)


@with_rule("it averages n_steps + 1 equally spaced points with both ends at full weight")
def one_more_with_full_ends(n: int) -> Rule:
    """a_k = k / n, w_k = 1 / (n + 1), k = 0 ... n."""
    return _over(_spaced(n + 1), n + 1)


@with_rule("it sums n_steps + 1 equally spaced points with both ends and divides by n_steps")
def one_more_over_n(n: int) -> Rule:
    """a_k = k / n, w_k = 1 / n, k = 0 ... n."""
    return _over(_spaced(n + 1), n)


@with_rule(
    "it drops the first of n_steps equally spaced points: the right Riemann rule with n_steps - 1"
)
def first_dropped(n: int) -> Rule:
    """a_k = k / (n - 1), w_k = 1 / (n - 1), k = 1 ... n - 1."""
    return _over(_spaced(n)[1:], n - 1)


@with_rule("it leaves out both ends of n_steps equally spaced points")
def without_ends(n: int) -> Rule:
    """a_k = k / (n - 1), w_k = 1 / (n - 2), k = 1 ... n - 2."""
    return _over(_spaced(n)[1:-1], n - 2)


@with_rule("it leaves out both ends of n_steps + 1 equally spaced points and divides by n_steps")
def one_more_without_ends(n: int) -> Rule:
    """a_k = k / n, w_k = 1 / n, k = 1 ... n - 1."""
    return _over(_spaced(n + 1)[1:-1], n)


@with_rule(
    "it is the trapezoid rule with weights that sum to (n - 1) / n, as Captum's and Quantus' are"
)
def short_trapezoid(n: int) -> Rule:
    """a_k = k / (n - 1), w_k = 1 / n, half of it at both ends."""
    points, weights = quadrature("riemann_trapezoid", n)
    return points, [weight * (n - 1) / n for weight in weights]


with_steps("it takes one step fewer than n_steps", _fewer)
with_steps("it takes one step more than n_steps", _more)
for _rule, _name in NAMES.items():
    with_steps(f"it takes one step fewer, by the {_name} rule", _fewer, method=_rule)
for _rule, _name in NAMES.items():
    with_steps(f"it takes one step more, by the {_name} rule", _more, method=_rule)
for _n in (1, 5, 10, 20, 25, 32, 50, 64, 100):
    with_steps(f"it takes {_n} steps whatever n_steps says", _n)
for _n in (10, 20, 50, 100):
    for _rule, _name in NAMES.items():
        with_steps(
            f"it takes {_n} steps of the {_name} rule whatever n_steps says", _n, method=_rule
        )


@integrated_gradients.variant("it is one gradient times (x - baseline), not an integral")
def one_gradient(
    model: ModelAdapter, x: Tensor, target: Tensor, *, baseline: float | Tensor, **_: Any
) -> Tensor:
    return (x - baseline) * input_gradient(model, x, target)


for _words, _value in (("always 0", 0.0), ("white (1)", 1.0), ("gray (0.5)", 0.5)):
    integrated_gradients.variant(f"its baseline is {_words}", baseline=_value)(
        integrated_gradients.reference
    )


@integrated_gradients.variant("its baseline is zero after normalisation (the mean), not in pixels")
def from_the_mean(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor | None:
    if model.mean is None:
        return None
    return integrated_gradients(model, x, target, **{**params, "baseline": model.mean})


@integrated_gradients.variant("its baseline is each image's mean")
def from_own_mean(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    own = x.mean((1, 2, 3), keepdim=True)
    return integrated_gradients(model, x, target, **{**params, "baseline": own})
