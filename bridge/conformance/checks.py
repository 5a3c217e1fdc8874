"""All checks of a function, in groups, and agreement itself. A check raises CheckFailed or returns its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bridge.conformance import axioms, contract
from bridge.conformance.subject import CheckFailed, Subject
from bridge.conformance.worlds import BASE, World, worlds
from bridge.metrics import agreement
from bridge.types import Agreement

# Every parameter away from its value in BASE and from its default: who ignores one is caught.
OTHER: dict[str, tuple[Any, ...]] = {
    "n_steps": (5,), "baseline": (0.35,), "relu": (True,), "upsample": (True,), "interpolation": ("bilinear",),
    "method": ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"), "window": ((4, 3), 5),
    "stride": (1, (2, 3)), "n_samples": (9,), "stdev": (0.4,), "targeted": (True,), "random_start": (False,),
    "steps": (3,), "overshoot": (0.3,), "candidates": (2,), "restarts": (3,),
}  # fmt: skip
DRAWS = 100  # in the first world and where a parameter is varied; a third of it in the others
SQUARE_LIMIT = 3.0  # neighbouring pixels share their noise, so that the mean of a thousand squares scatters by about 0.3
Z_LIMIT = 7.0  # of some thousand pixels one exceeds 7 standard errors by chance once in a hundred million checks


@dataclass(frozen=True)
class Check:
    """One check by name; `run` returns figures, or raises CheckFailed. `world` is where a disagreement is diagnosed."""

    name: str
    run: Callable[[], Mapping[str, Any]]
    world: World | None = None


def all_checks(subject: Subject, seed: int, extra: World | None = None) -> list[Check]:
    """Every check of this function, in the order that a reader wants them."""
    method = subject.method
    base = {**BASE.get(method.name, {}), **subject.params}
    places = worlds(method, base, seed)
    if extra is not None:
        places.insert(0, World("the given model and batch", extra.model, extra.x, extra.target, base))
    first = places[0]
    drawn_itself = _draws_itself(subject, first)
    found = [
        Check("contract: a tensor of the right shape, dtype and device", lambda: contract.right_kind(subject, first)),
        Check("contract: finite numbers without a graph", lambda: contract.finite(subject, places)),
        Check("contract: the same seed gives the same output", lambda: contract.repeatable(subject, first)),
    ]
    if method.draw is not None or method.name == "smooth_grad":
        found.append(
            Check("contract: another seed gives another output", lambda: contract.differs_between_seeds(subject, first))
        )
    found += [
        Check("no trace: images, classes and their flags", lambda: contract.images_untouched(subject, first)),
        Check(
            "no trace: weights, buffers, gradients, modes, flags and hooks of the model",
            lambda: contract.model_untouched(subject, first),
        ),
        Check("no trace: the random state", lambda: contract.random_state_untouched(subject, first)),
        Check("no trace: new images give new answers", lambda: contract.not_cached(subject, first, "images")),
        Check("no trace: changed weights give new answers", lambda: contract.not_cached(subject, first, "weights")),
    ]
    agree = partial(_statistical, draws=DRAWS) if drawn_itself else _agreement
    elsewhere = partial(_statistical, draws=DRAWS // 3) if drawn_itself else _agreement
    found.append(Check(f"agreement: {first.name}", partial(agree, subject, first), first))
    found += [Check(f"agreement: {world.name}", partial(elsewhere, subject, world), world) for world in places[1:]]
    for world in _variations(subject, first):
        found.append(Check(f"agreement: {world.name}", partial(agree, subject, world), world))
    found += [Check(name, run) for name, run in axioms.axioms(subject, places)]
    if not drawn_itself:
        found += [Check(name, run) for name, run in axioms.metamorphic(subject, first)]
    return found


def tolerance(subject: Subject, world: World) -> tuple[Tensor, float]:
    """The reference in float64, and the noise floor: itself in float32 against it."""
    expected = subject.reference(world)
    single = subject.reference(world.single())
    return expected, agreement.noise_floor(single, expected, subject.scale)


def same(subject: Subject, output: Tensor, expected: Tensor, noise: float) -> Agreement:
    """The float64 verdict on one output."""
    return agreement.judge(output, output, expected.float(), expected, noise=noise, scale=subject.scale)


def _agreement(subject: Subject, world: World) -> Mapping[str, Any]:
    expected, noise = tolerance(subject, world)
    found = same(subject, subject(world).detach(), expected, noise)
    if found.verdict == "differs":
        raise CheckFailed(
            f"differs from the reference on {found.images} of {len(world.x)} images by up to {found.gap:.2e} "
            f"(rounding would be {min(found.noise, agreement.FLOAT64_NOISE):.0e})" + (f": {found.cause}" if found.cause else "")
        )
    return {"verdict": found.verdict, "gap": found.gap}


def _statistical(subject: Subject, world: World, draws: int) -> Mapping[str, Any]:
    """For a function that draws random numbers in its own order: means and spreads over many seeds."""
    first_expected, noise = tolerance(subject, world)
    if same(subject, subject(world).detach(), first_expected, noise).verdict != "differs":
        return {"verdict": "equal under the same seed"}
    ours = torch.stack([subject.reference(world, seed) for seed in range(draws)])
    theirs = torch.stack([subject(world, seed).detach().double() for seed in range(draws)])
    if theirs.shape != ours.shape:
        raise CheckFailed(f"the output has shape {tuple(theirs.shape[1:])}, expected {tuple(ours.shape[1:])}")
    variance_ours, variance_theirs = ours.var(0), theirs.var(0)
    error = ((variance_ours + variance_theirs) / draws).sqrt()
    scale = float(ours.abs().max())
    each = (ours.mean(0) - theirs.mean(0)).abs() / (error + 1e-9 * scale)
    z, square = float(each.max()), float(each.square().mean())
    spread = float((variance_theirs.mean() / variance_ours.mean().clamp(min=1e-30)).sqrt())
    if z > Z_LIMIT or square > SQUARE_LIMIT or (float(variance_ours.mean()) > 1e-20 and not 0.75 < spread < 1.33):
        raise CheckFailed(
            f"over {draws} seeds its mean is {z:.1f} standard errors away from the reference's (chance explains {Z_LIMIT:g}), "
            f"{square:.1f} squared on average (chance: 1), and its spread is {spread:.2f} times the reference's"
        )
    return {"z": z, "spread": spread}


def _draws_itself(subject: Subject, world: World) -> bool:
    """Whether reference or function still draw random numbers once everything that can be told is told."""
    try:
        return not torch.equal(subject.reference(world, 1), subject.reference(world, 2))
    except (CheckFailed, TypeError, ValueError):
        return False


def _variations(subject: Subject, world: World) -> Iterator[World]:
    """The first world with one parameter changed at a time, for each that the function can be told."""
    for name, default in subject.method.defaults.items():
        if name in subject.params or not subject.accepts(name) or name in ("start", "noise"):
            continue
        if name == "restarts" and not subject.names(name):
            continue  # several starts at once are asked only of who says that they take them
        values = OTHER.get(name)
        if name == "epsilon":
            # Large ones tell no clip from a clip at the wrong bounds.
            values = (0.2,) if default is None else (0.03, 3.0) if subject.method.norm == "linf" else (0.3, 40.0)
        elif name == "step_size":
            values = (0.011,)
        elif values is None and isinstance(default, bool | int | float):
            values = (
                (not default,)
                if isinstance(default, bool)
                else (default + 1,)
                if isinstance(default, int)
                else (default * 1.5,)
            )
        for value in values or ():
            yield world.with_params(f"{name}={value!r}", **{name: value})
