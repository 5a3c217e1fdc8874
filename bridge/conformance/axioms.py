"""Axioms: what the answers of a method obey, whatever the model. A method's tags say which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.conformance.headed import classes, headed
from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import BLIND, CLASSES, World
from bridge.core.gradients import target_logits
from bridge.core.model import wrap
from bridge.core.norms import l2_norm, linf_norm
from bridge.core.state import seeded
from bridge.core.tags import Axiom
from bridge.metrics import agreement
from bridge.metrics.attack import defects

Check = Callable[[Subject, list[World]], Mapping[str, Any]]
AXIOMS: dict[Axiom, tuple[str, Check]] = {}


def axiom(name: Axiom, sentence: str) -> Callable[[Check], Check]:
    """Register the check of an axiom that methods may have among their tags."""

    def register(check: Check) -> Check:
        AXIOMS[name] = f"axiom: {sentence}", check
        return check

    return register


def axioms(
    subject: Subject, places: list[World]
) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    """The checks of the method's axioms, and of those that all attacks have."""
    method = subject.method
    if method.kind == "attack":
        yield "axiom: images stay within the bounds", partial(within_bounds, subject, places)
        if not method.minimal:
            yield "axiom: images stay within the ball", partial(within_ball, subject, places)
            yield (
                "axiom: epsilon 0 gives the clean images",
                partial(nothing_at_zero, subject, places),
            )
    for name, (sentence, check) in AXIOMS.items():
        if name in method.tags.axioms:
            yield sentence, partial(check, subject, places)


@axiom("completeness", "completeness, the attributions sum to f(x) - f(baseline)")
def complete(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """On a smooth network; what is missing may be the error of its rule, but no more than that.

    The error is bounded by the rule's order and its number of steps (`may_miss`), along the path
    itself; a method that sums up no path is exact.
    """
    if subject.method.needs:
        raise Skipped("the smooth network has no layer to look at")
    with seeded(0):
        hidden = nn.Linear(48, 5), nn.Tanh(), nn.Linear(5, CLASSES)
    model = wrap(nn.Sequential(nn.Flatten(), *hidden).double().eval())
    x = torch.linspace(0, 1, 96, dtype=torch.float64).view(2, 3, 4, 4)
    steps = {"n_steps": 50} if "n_steps" in subject.method.defaults else {}
    world = World("", model, x, torch.tensor([0, 3]), steps)
    baseline = torch.as_tensor(subject.settings(world).get("baseline", 0.0), dtype=x.dtype)
    with torch.no_grad():
        ends = model(x), model(baseline.expand_as(x))
        expected = target_logits(ends[0], world.target) - target_logits(ends[1], world.target)

    may, why = _may_miss(subject, world, baseline)
    error = float((subject(world).detach().flatten(1).sum(1) - expected).abs().max())
    if error > may + (1e-5 if subject.single else 1e-9):
        raise CheckFailed(
            f"the sum of the attributions misses f(x) - f(baseline) by {error:.2e}, that is "
            f"{error / float(expected.abs().max()):.1%}" + f"; it may by {may:.1e} ({why})"
        )
    return {"error": error, "may be": may}


def _may_miss(subject: Subject, world: World, baseline: Tensor) -> tuple[float, str]:
    """By how much the method's rule may miss completeness here, and why."""
    rule = subject.method.tags.may_miss
    if rule is None:
        return 0.0, "the method is exact"
    x, way = world.x, world.x - baseline

    def along(points: Any) -> Any:
        """The derivative of the logit along the path, (k, n)."""
        k = len(points)
        places = torch.as_tensor(points).view(k, 1, 1, 1, 1)
        leaf = (baseline + places * way).flatten(0, 1).requires_grad_()
        score = target_logits(world.model(leaf), world.target.repeat(k)).sum()
        (slope,) = torch.autograd.grad(score, leaf)
        return (slope.view(k, *x.shape) * way).flatten(2).sum(2).numpy()

    return rule(along, **subject.settings(world))


@axiom("dummy", "pixels that the model does not see get nothing")
def dummy(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """Exactly zero on the columns that our blind network leaves out."""
    blind = next(place for place in places if place.name == BLIND)
    largest = float(subject(blind).detach()[..., -3:].abs().max())
    if largest:
        raise CheckFailed(f"pixels without any influence on the logits get up to {largest:.2e}")
    return {}


@axiom("implementation invariance", "two networks of the same function get the same attribution")
def invariant(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """The logits times a matrix and its inverse."""
    count = classes(places[0])
    # Well conditioned, and every logit takes part.
    mixing = torch.eye(count, dtype=torch.float64) + 1 / count

    def there_and_back(logits: Tensor) -> Tensor:
        return logits @ mixing.to(logits) @ torch.linalg.inv(mixing).to(logits)

    expected = subject(places[0]).detach()
    gap = _gap(subject(headed(places[0], there_and_back)).detach(), expected)
    if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
        raise CheckFailed(
            f"two networks that compute the same function get attributions that differ by {gap:.2e}"
        )
    return {"gap": gap}


def _with_next(logits: Tensor) -> Tensor:
    """Each logit plus the next class's."""
    return logits + logits.roll(-1, 1)


@axiom("linearity", "the attribution of a sum of logits is the sum of the attributions")
def linear(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """Of a class and the next one."""
    world = places[0]
    if subject.settings(world).get("relu"):
        raise Skipped("with a ReLU the map is not linear")
    neighbour = replace(world, target=(world.target + 1) % classes(world))
    expected = subject(world).detach() + subject(neighbour).detach()
    gap = _gap(subject(headed(world, _with_next)).detach(), expected)
    if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
        raise CheckFailed(
            f"the attribution of two logits' sum differs from the sum of theirs by {gap:.2e}"
        )
    return {"gap": gap}


def _gap(found: Tensor, expected: Tensor) -> float:
    return float(agreement.gaps(found, expected, agreement.image_scale(expected)).max())


@axiom("ascent", "the loss does not fall on a linear model")
def climbs(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """The last world is the linear one."""
    place = places[-1]
    with torch.no_grad():
        before = F.cross_entropy(place.model(place.x), place.target, reduction="none")
        images = subject(place).detach().clamp(*place.model.bounds)
        after = F.cross_entropy(place.model(images), place.target, reduction="none")
    fallen = int((after < before - 1e-9).sum())
    if fallen:
        raise CheckFailed(f"the loss of the true class falls on {fallen} of {len(before)} images")
    return {}


def within_bounds(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """No pixel outside of the model's bounds, in any world."""
    return _within(subject, places, "out of bounds")


def within_ball(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """No perturbation larger than epsilon, in any world."""
    return _within(subject, places, "out of the ball")


def _within(subject: Subject, places: list[World], what: str) -> Mapping[str, Any]:
    norm = subject.method.norm
    for place in places:
        epsilon = subject.settings(place).get("epsilon")
        for seed in (0, 1):
            output = subject(place, seed, **subject.own_draws(place)).detach()
            bad = defects(place.x, output, place.model.bounds, epsilon, norm).get(what)
            if bad is None or not bool(bad.any()):
                continue
            size = (linf_norm if norm == "linf" else l2_norm)(output - place.x)
            raise CheckFailed(
                f"{int(bad.sum())} images are {what} with {place.name}: pixels from "
                f"{float(output.min()):.4g} to {float(output.max()):.4g}, {norm} up to "
                f"{float(size.max()):.4g}, epsilon {epsilon}"
            )
    return {}


def nothing_at_zero(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """A ball of no size holds the image alone."""
    world = places[0]
    if not subject.accepts("epsilon"):
        raise Skipped("it takes no epsilon")
    changes: dict[str, Any] = {"epsilon": 0.0, **subject.own_draws(world)}
    if "step_size" in subject.method.defaults:
        changes["step_size"] = 0.01
    moved = float((subject(world, **changes).detach() - world.x).abs().max())
    # The projection x + clamp(x' - x) rounds at 1e-16, what works in float32 at 1e-7.
    if moved > (1e-6 if subject.single else 1e-9):
        raise CheckFailed(f"pixels move by up to {moved:.2e} although epsilon is 0")
    return {}
