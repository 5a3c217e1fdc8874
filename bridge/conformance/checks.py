"""All checks of a function, in groups. A check raises CheckFailed or returns its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from bridge.calling import Called
from bridge.conformance import contract
from bridge.conformance.axioms import axioms
from bridge.conformance.judging import (
    DRAWS,
    agrees,
    agrees_on_average,
    draws_itself,
)
from bridge.conformance.metamorphic import metamorphic
from bridge.conformance.replaying import law
from bridge.conformance.starting import told_to_draw
from bridge.conformance.subject import CheckFailed, Skipped, Subject, in_colour
from bridge.conformance.worlds import World, base, worlds

Run = Callable[[], Mapping[str, Any]]
MANY = 100  # steps, on networks that are asked in some milliseconds


@dataclass(frozen=True)
class Check:
    """One check by name; `run` returns figures, or raises CheckFailed.

    `world` is where a disagreement is diagnosed.
    """

    name: str
    run: Run
    world: World | None = None


def all_checks(subject: Subject, seed: int, extra: World | None = None) -> list[Check]:
    """Every check of this function, in the order that a reader wants them."""
    places = _places(subject, seed, extra)
    first = places[0]
    itself = draws_itself(subject, first)
    # What draws and does not say so is found out.
    random = subject.method.random or itself
    found = [Check(name, run) for name, run in _contract(subject, places, random)]
    agree = partial(agrees_on_average, draws=DRAWS) if itself else agrees
    elsewhere = partial(agrees_on_average, draws=DRAWS // 3) if itself else agrees
    found.append(_agreement(subject, first, agree))
    found += [_agreement(subject, world, elsewhere) for world in places[1:]]
    found += [_agreement(subject, world, agree) for world in variations(subject, first)]
    if subject.accepts("random_start") and not subject.accepts("start"):
        found.append(Check("agreement: its random start", partial(_drawn, subject, first)))
    if itself and subject.method.tags.law is not None:
        found.append(Check("agreement: its noise", partial(_noisy, subject, first)))
    found += [Check(name, run) for name, run in axioms(subject, places)]
    if not itself:
        found += [Check(name, run) for name, run in metamorphic(subject, first)]
    return found


def _places(subject: Subject, seed: int, extra: World | None) -> list[World]:
    method = subject.method
    places = worlds(method, {**base(method), **subject.params}, seed)
    if extra is None:
        return places
    params = {**base(method, min(extra.x.shape[2:])), **subject.params}
    return [replace(extra, name="the given model and batch", params=params), *places]


def _agreement(subject: Subject, world: World, judge: Callable[..., Mapping[str, Any]]) -> Check:
    run = partial(_covered, judge, subject, world)
    return Check(f"agreement: {world.name}", run, world)


def _covered(
    judge: Callable[..., Mapping[str, Any]], subject: Subject, world: World
) -> Mapping[str, Any]:
    """The judgement; a form of a parameter that somebody's own code refuses is not covered.

    Nor are grey images, where it refuses them or still answers with three channels.
    """
    try:
        return judge(subject, world)
    except CheckFailed as error:
        if isinstance(subject.function, Called) and _written_for_colour(subject, world):
            raise Skipped("not covered: it is written for images of three channels") from None
        value = world.params.get(world.varied)
        form = isinstance(value, tuple | str | Tensor) or value is None
        if form and isinstance(subject.function, Called) and str(error).startswith("raised"):
            raise Skipped(f"not covered: it takes no {world.name}: {error}") from None
        raise


def _drawn(subject: Subject, world: World) -> Mapping[str, Any]:
    """A start that it draws is drawn as the method's: what it asks first is read."""
    return _as_said(told_to_draw(subject, world))


def _noisy(subject: Subject, world: World) -> Mapping[str, Any]:
    """Noise that it draws is spread as the method's."""
    return _as_said(law(subject, world))


def _as_said(deviations: Iterable[str]) -> Mapping[str, Any]:
    """Raise CheckFailed with the deviations, where there are any."""
    found = list(deviations)
    if found:
        raise CheckFailed("; and ".join(found))
    return {}


def _written_for_colour(subject: Subject, world: World) -> bool:
    """Whether its answer for images of one channel fails, or has three."""
    if world.x.shape[1] != 1:
        return False
    try:
        return in_colour(world, subject(world))
    except CheckFailed as error:
        return str(error).startswith("raised")
    except Skipped:
        return False


def _contract(subject: Subject, places: list[World], random: bool) -> Iterator[tuple[str, Run]]:
    first = places[0]
    yield (
        "contract: a tensor of the right shape, dtype and device",
        partial(contract.right_kind, subject, first),
    )
    yield (
        "contract: finite numbers without a graph",
        partial(contract.finite, subject, places),
    )
    yield (
        "contract: the same seed gives the same output",
        partial(contract.repeatable, subject, first),
    )
    if random:
        yield (
            "contract: another seed gives another output",
            partial(contract.differs_between_seeds, subject, first),
        )
    yield (
        "no trace: images, classes and their flags",
        partial(contract.images_untouched, subject, first),
    )
    yield (
        "no trace: weights, buffers, gradients, modes, flags and hooks of the model",
        partial(contract.model_untouched, subject, first),
    )
    yield (
        "no trace: the random state",
        partial(contract.random_state_untouched, subject, first, random),
    )
    yield (
        "no trace: new images give new answers",
        partial(contract.follows_images, subject, first),
    )
    yield (
        "no trace: changed weights give new answers",
        partial(contract.follows_weights, subject, first),
    )


def variations(subject: Subject, world: World) -> Iterator[World]:
    """The world with one parameter changed at a time, for each that the function can be told."""
    method = subject.method
    for name in method.defaults:
        if name in subject.params or not subject.accepts(name):
            continue
        if name == "restarts" and not subject.names(name):
            continue  # several starts at once are asked only of who says that they take them
        for value in _others(subject, world, name):
            changed = world.with_param(name, value)
            try:
                settings = subject.settings(changed)
                method.check(changed.x, settings)
            except (CheckFailed, TypeError, ValueError):
                continue  # it makes no sense beside the other parameters
            if callable(subject.own.get("steps")) and settings["steps"] > MANY:
                continue  # its own number of steps follows the parameter: the loop would not end
            yield changed


def _others(subject: Subject, world: World, name: str) -> tuple[Any, ...]:
    """Values away from the usual one: who ignores the parameter is found out."""
    domain, default = subject.method.domains.get(name), subject.method.defaults[name]
    if domain is not None and domain.others:
        return domain.others
    if domain is not None and domain.choices:
        usual = {**subject.method.defaults, **world.params}[name]
        return tuple(choice for choice in domain.choices if choice != usual)
    if isinstance(default, bool):
        return (not default,)
    if isinstance(default, int):
        return (default + 1,)
    return (default * 1.5,) if isinstance(default, float) else ()
