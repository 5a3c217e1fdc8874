"""What code does where it says nothing: values of its own, read off what it asks of the model.

Only what it cannot be told, and what nobody stated, is its own to choose; what it is told and
ignores is a deviation.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bridge.calling import Called
from bridge.conformance.judging import agrees
from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.watching import Watched, watch
from bridge.conformance.worlds import World
from bridge.metrics import agreement

CLOSE = 8e-6  # as the diagnosis
SINGLE = 2e-4  # of code that works in float32
SAME = 1e-4  # relative, of sizes that were read
# Where sizes are read a second time, so that a share of epsilon is told from a number.
OTHER = {"epsilon": 0.17, "steps": 4}
SHARES = (1.0, 1.25, 2.0, 2.5, 0.5, 0.25, 0.2, 0.125, 0.1, 0.05, 1 / 30)


@dataclass(frozen=True)
class Formula:
    """A size that follows another parameter: share * epsilon, or share * epsilon / steps."""

    share: float
    over_steps: bool = False

    def __call__(self, settings: Mapping[str, Any]) -> float:
        value = self.share * settings["epsilon"]
        return float(value / settings["steps"] if self.over_steps else value)

    def __str__(self) -> str:
        inverse = 1 / self.share
        if self.share == 1:
            text = "epsilon"
        elif abs(inverse - round(inverse)) < SAME and self.share < 1:
            text = f"epsilon / {round(inverse)}"
        else:
            text = f"{self.share:.4g} epsilon"
        return f"{text} / steps" if self.over_steps else text


@dataclass(frozen=True)
class Count:
    """A number of steps that follows epsilon, in words."""

    words: str
    of: Callable[[float], int]

    def __call__(self, settings: Mapping[str, Any]) -> int:
        return self.of(float(settings["epsilon"]))

    def __str__(self) -> str:
        return self.words


def _kurakin(epsilon: float) -> float:
    return min(255 * epsilon + 4, 1.25 * 255 * epsilon)


def _cut(epsilon: float) -> int:
    return int(_kurakin(epsilon))


def _up(epsilon: float) -> int:
    return math.ceil(_kurakin(epsilon))


def _nearest(epsilon: float) -> int:
    return round(_kurakin(epsilon))


# How many steps people take where it follows from epsilon: Kurakin's, in units of 1/255.
KURAKIN = "min(255 epsilon + 4, 1.25 * 255 epsilon)"
COUNTS = (
    Count(f"{KURAKIN}, rounded down", _cut),
    Count(f"{KURAKIN}, rounded up", _up),
    Count(f"{KURAKIN}, rounded", _nearest),
)


def settled(subject: Subject, places: list[World]) -> Subject:
    """The subject with values of its own where it says nothing."""
    if not isinstance(subject.function, Called) or subject.method.tags.observed is None:
        return subject
    first = watch(subject, places[0])
    if first is None:
        return subject
    subject, first = _one_for_all(subject, first)
    read = _read(subject, first)
    chosen = next(_fitting(subject, first, read), {n: values[0] for n, values in read.items()})
    return replace(subject, own=chosen)


def statable(subject: Subject, failing: Sequence[World]) -> dict[str, Any]:
    """Parameters under which code of our own signature is right wherever it failed; else none.

    Who writes our signature says what it does where it cannot be told: it is helped to say so.
    """
    if isinstance(subject.function, Called) or not failing:
        return {}
    first = watch(subject, failing[0])
    read = {} if first is None else _read(subject, first)
    if first is None or not read:
        return {}
    for chosen in _fitting(subject, first, read):
        if any(callable(value) for value in chosen.values()):
            continue
        candidate = replace(subject, own=chosen)
        with contextlib.suppress(CheckFailed, Skipped, ValueError, TypeError):
            if all(agrees(candidate, world) for world in failing):
                return chosen
    return {}


def _read(subject: Subject, first: Watched) -> dict[str, list[Any]]:
    """What may be its values of the parameters that it cannot be told and nobody stated."""
    observed = subject.method.tags.observed
    if observed is None:
        return {}
    seen = dict(observed(first.asked, first.looked, first.world.x, first.output))
    free = [n for n in seen if not subject.accepts(n) and n not in subject.params and seen[n]]
    return _followed(subject, first, {name: list(seen[name]) for name in free})


def _one_for_all(subject: Subject, first: Watched) -> tuple[Subject, Watched]:
    """One channel stands for all where the method's maps are alike in all of them."""
    x, output = first.world.x, first.output
    if output.shape != (len(x), 1, *x.shape[2:]) or x.shape[1] == 1:
        return subject, first
    try:
        expected = subject.reference(first.world)
    except (CheckFailed, ValueError, TypeError):
        return subject, first
    alike = expected.shape == x.shape and float((expected - expected[:, :1]).abs().max()) < 1e-12
    if not alike or not isinstance(subject.function, Called):
        return subject, first
    spread = replace(subject.function, spread=True)
    return replace(subject, function=spread), replace(first, output=output.expand_as(x))


def _followed(
    subject: Subject, first: Watched, read: Mapping[str, list[Any]]
) -> dict[str, list[Any]]:
    """Sizes that follow what the code is told, by a second look where that is different."""
    changes = {k: v for k, v in OTHER.items() if subject.accepts(k)}
    observed = subject.method.tags.observed
    if "step_size" not in read or not changes or observed is None:
        return dict(read)
    other = replace(first.world, params={**first.world.params, **changes})
    second = watch(subject, other)
    seen = observed(second.asked, second.looked, other.x, second.output) if second else {}
    if not seen:
        return dict(read)
    sizes = read["step_size"][0], seen["step_size"][0]
    if "steps" in read and "steps" in seen and read["steps"] != seen["steps"]:
        sides = [(read, subject.settings(first.world)), (seen, subject.settings(other))]
        for count in COUNTS:
            if all(count(settings) == found["steps"][0] for found, settings in sides):
                return {**read, "steps": [count]}
    known = [{**read, **subject.settings(w)} for w in (first.world, other)]
    for settings, found in zip(known, (read, seen), strict=True):
        settings["epsilon"] = settings.get("epsilon") or found["epsilon"][0]
        settings["steps"] = found["steps"][0] if "steps" in found else settings["steps"]
    if abs(sizes[0] - sizes[1]) <= SAME * max(sizes):
        return dict(read)
    for over_steps in (False, True):
        shares = [
            size / Formula(1.0, over_steps)(settings)
            for size, settings in zip(sizes, known, strict=True)
        ]
        if abs(shares[0] - shares[1]) <= SAME * max(shares):
            share = next((s for s in SHARES if abs(s - shares[0]) < SAME * s), shares[0])
            return {**read, "step_size": [Formula(share, over_steps)]}
    return dict(read)


def _fitting(
    subject: Subject, first: Watched, read: Mapping[str, list[Any]]
) -> Iterator[dict[str, Any]]:
    """The combinations under which the method gives what the code gave."""
    drawn = bool(first.asked) and "start" in subject.method.defaults
    start: dict[str, Any] = {"start": first.asked[0]} if drawn else {}
    for values in itertools.product(*read.values()):
        chosen = dict(zip(read, values, strict=True))
        candidate = replace(subject, own=chosen)
        try:
            expected = candidate.reference(first.world, **start)
        except (CheckFailed, Skipped, ValueError, TypeError, RuntimeError):
            continue
        if _agree(candidate, first.output, expected):
            yield chosen


def _agree(subject: Subject, output: Tensor, expected: Tensor) -> bool:
    if output.shape != expected.shape:
        return False
    gaps = agreement.gaps(output, expected, subject.scale(expected))
    return float(gaps.max()) <= (SINGLE if subject.single else CLOSE)


def told(subject: Subject) -> str:
    """Its own values that are not our defaults, in words; "" where there are none."""
    defaults = _defaults(subject)
    other = {n: v for n, v in subject.own.items() if not _default(v, defaults[n])}
    if not other:
        return ""
    theirs = ", ".join(f"{name}={in_words(value)}" for name, value in other.items())
    ours = ", ".join(f"{name}={in_words(defaults[name])}" for name in other)
    return f"checked as {subject.method.name} with {theirs}, where ours defaults to {ours}"


def _defaults(subject: Subject) -> dict[str, Any]:
    """Our defaults; a step that follows epsilon as the formula that it is."""
    defaults, recipe = dict(subject.method.defaults), subject.method.tags.recipe
    if defaults.get("step_size", 0) is None and recipe is not None:
        found = recipe(torch.zeros(1, 1, 1, 1), (0.0, 1.0), **defaults)
        defaults["step_size"] = Formula(found.step / found.epsilon)
    return defaults


def _default(value: Any, default: Any) -> bool:
    if isinstance(value, Formula) and isinstance(default, Formula):
        return str(value) == str(default)
    if isinstance(value, float) and isinstance(default, float):
        return abs(value - default) <= SAME * abs(default)
    return bool(value == default)


def in_words(value: Any) -> str:
    """A value as people write it: 2/255."""
    if isinstance(value, float):
        bits = value * 255
        if value and abs(bits - round(bits, 1)) < 1e-3 and 0 < bits < 128 and round(bits, 1):
            near = abs(value - round(value, 3)) > 1e-9
            return f"{round(bits, 1):g}/255" if near else f"{value:g}"
        return f"{value:.4g}"
    return str(value)
