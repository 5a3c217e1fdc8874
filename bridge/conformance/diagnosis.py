"""What is wrong: causes are computed, and the one whose output is the function's own is named."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bridge.calling import Called
from bridge.conformance import attack_causes, attribution_causes
from bridge.conformance.combining import combined
from bridge.conformance.judging import FIRST_LOOK, averages, draws_itself
from bridge.conformance.replaying import law, replayed
from bridge.conformance.retracing import retraced
from bridge.conformance.starting import told_to_draw
from bridge.conformance.subject import (
    SENSELESS,
    CheckFailed,
    Predict,
    Skipped,
    Subject,
    deviating,
    in_colour,
)
from bridge.conformance.watching import watch
from bridge.conformance.worlds import World, base
from bridge.core.method import Variant
from bridge.core.state import frozen
from bridge.metrics import agreement

# A cause explains an output if nothing is left but what float32 inside of it may round.
EXPLAINED = 8e-6
PARTLY = "something else is different"
TIED = 1e-9
WORTH_SAYING = 0.3  # the share that what is nearest may leave
AVERAGED = 60  # draws, where a cause can be seen in averages alone
NOT_RECOGNISED = "cause not recognised: the output is none of the known variants of the method"


@dataclass(frozen=True)
class Evidence:
    """What the function gave in one world where it disagrees."""

    world: World
    output: Tensor


def diagnose(subject: Subject, failing: Sequence[World], every: Sequence[World] = ()) -> str:
    """The cause of the disagreements in a sentence with its figure, "" where nothing disagrees.

    `every` are all worlds that it was asked in: several deviations at once must explain the answers
    there too.
    """
    if not failing:  # everything agrees, but for what two draws cannot agree in
        said = [*told_to_draw(subject, every[0]), *law(subject, every[0])] if every else []
        return "; and ".join(said)
    subject = _with_channels(subject, failing)
    evidence = []
    for world in failing:
        try:
            evidence.append(Evidence(world, subject(world).detach().double()))
        except Skipped:
            continue
        except CheckFailed as error:
            if not evidence:
                return str(error)
    if not evidence:
        return ""
    finite = [each for each in evidence if bool(each.output.isfinite().all())]
    if not finite:
        found = (
            several(subject, every or failing)[0] if isinstance(subject.function, Called) else ""
        )
        told = f"the output has values that are not finite ({evidence[0].world.name})"
        return f"{found}; and {told}" if found else told
    found = _ignored_parameters(subject, finite)
    known = _known(subject, finite)
    if found or known:
        return found or known
    if isinstance(subject.function, Called):  # as people write: two deviations are the rule
        found, nearest = several(subject, every or failing)
        # Without a recipe two deviations are found among pairs alone.
        pairs = subject.method.kind == "attack" and subject.method.tags.recipe is None
        return found or _explained(subject, finite, pairs=pairs) or nearest or NOT_RECOGNISED
    found = _explained(subject, finite)
    if found and PARTLY not in found:
        return found
    at_once, nearest = several(subject, every or failing)
    return at_once or found or nearest or NOT_RECOGNISED


def _with_channels(subject: Subject, failing: Sequence[World]) -> Subject:
    """The subject, whose maps (n, h, w) get the axis of channels that they lack.

    That they lack it is another check's to say, and hides no cause.
    """
    if subject.method.kind != "attribution" or not failing:
        return subject
    with contextlib.suppress(CheckFailed, Skipped):
        if subject(failing[0]).ndim == failing[0].x.ndim - 1:
            function = subject.function

            @functools.wraps(function)
            def with_axis(*args: Any, **params: Any) -> Any:
                return function(*args, **params)[:, None]

            return replace(subject, function=with_axis)
    return subject


def several(subject: Subject, worlds: Sequence[World]) -> tuple[str, str]:
    """Several deviations that explain all calls at once; else what is nearest, as such."""
    told = [world for world in worlds if not _tied(world)]
    found = [each for world in told if (each := watch(subject, world)) is not None]
    watched = [each for each in found if not in_colour(each.world, each.output)]
    if not watched:
        return "", ""
    total = f"explains {len(watched)} of {len(watched)} calls to within {EXPLAINED:.0e}"
    if subject.method.kind == "attack":
        steps = retraced(subject, watched)
        listed = "; and ".join([*steps[0], *steps[1]]) if steps else ""
        return (f"{listed} ({total})" if listed else ""), ""
    own = replayed(subject, watched)
    if own is None and draws_itself(subject, worlds[0]):
        return "", ""
    said, watched = own or ([], watched)
    several_ = combined(subject, watched)
    if several_ is None:
        return "", ""
    sentences, left = [*said, *several_[0]], several_[1]
    listed = "; and ".join(sentences)
    if left == 0 and sentences:
        return f"{listed} ({total})", ""
    nearest = (
        f"{NOT_RECOGNISED}; nearest known: {listed}, which leaves {left:.0%} of it unexplained"
    )
    return "", nearest if sentences and left < WORTH_SAYING else ""


def _tied(world: World) -> bool:
    """Whether all classes have the same logit: which of them is the largest is chance."""
    with torch.no_grad(), frozen(world.model):
        logits = world.model(world.x)
    return float((logits.amax(1) - logits.amin(1)).min()) < TIED


def _known(subject: Subject, evidence: Sequence[Evidence]) -> str:
    """What is known of a library's implementation, where it explains everything here too.

    Of this library's, where it is registered; of any, for somebody's own code.
    """
    own = [subject.twin] if subject.twin is not None else []
    known = subject.method.twins.values() if isinstance(subject.function, Called) else own
    for twin in known:
        if twin.instead is None:
            continue
        predict = partial(deviating, Variant(twin.differs, twin.instead))
        if all(_explains(subject, predict, each) for each in evidence):
            return twin.differs
    return ""


def _explained(subject: Subject, evidence: Sequence[Evidence], *, pairs: bool = True) -> str:
    """The first cause that explains everything, else the one that explains most; "" for none."""
    best, explained, total = "", 0, len(evidence)
    for sentence, predict in _causes(subject, pairs=pairs):
        count = 0
        while count < total and _explains(subject, predict, evidence[count]):
            count += 1
        if count == total:
            plural = "s" if total > 1 else ""
            found = f"explains {total} of {total} disagreement{plural} to within {EXPLAINED:.0e}"
            return f"{sentence} ({found})"
        if count > explained:
            best, explained = sentence, count
    averaged = _explained_on_average(subject, [each.world for each in evidence])
    if averaged or explained < 2:
        return averaged
    return f"{best} (explains {explained} of {total} disagreements; {PARTLY} as well)"


def _explained_on_average(subject: Subject, worlds: Sequence[World]) -> str:
    """Of a function that draws in its own order: the cause whose averages are closest to its own.

    One cause, not two: chance explains too much to tell pairs apart. Not of the family of recipes,
    whose causes begin at a start that both are told.
    """
    if subject.method.tags.recipe is not None or not draws_itself(subject, worlds[0]):
        return ""
    total, worlds, seeds = len(worlds), worlds[:4], range(AVERAGED)  # four are proof enough
    try:
        outputs = [[subject(world, seed).detach().double() for seed in seeds] for world in worlds]
    except (CheckFailed, Skipped):
        return ""
    best, smallest = "", math.inf
    for sentence, predict in _causes(subject, pairs=False):
        largest = 0.0
        for world, theirs in zip(worlds, outputs, strict=True):
            largest = max(largest, _distance(subject, predict, world, theirs))
            if largest >= smallest:
                break
        if largest < smallest:
            best, smallest = sentence, largest
    found = f"over {AVERAGED} draws, in {len(worlds)} of {total} disagreements"
    return f"{best} (on average {found})" if best else ""


def _distance(subject: Subject, predict: Predict, world: World, theirs: Sequence[Tensor]) -> float:
    """The mean square of a cause's errors in standard errors; infinite where chance is not all."""
    ours: list[Tensor] = []
    try:
        for count, slack in ((FIRST_LOOK, 3), (len(theirs), 1)):
            for seed in range(len(ours), count):
                predicted = predict(replace(subject, seed=seed), world)
                if predicted is None:
                    return math.inf
                ours.append(predicted)
            figures = averages(ours, theirs[:count], slack)
    except SENSELESS:
        return math.inf
    return float(figures["square"])


def _causes(subject: Subject, *, pairs: bool = True) -> Iterator[tuple[str, Predict]]:
    if subject.method.kind == "attack":
        yield from attack_causes.causes(subject, pairs=pairs)
    else:
        yield from attribution_causes.causes(subject, pairs=pairs)


def _explains(subject: Subject, predict: Predict, evidence: Evidence) -> bool:
    try:
        expected = predict(subject, evidence.world)
    except SENSELESS:
        return False
    if expected is None or expected.shape != evidence.output.shape:
        return False
    if not bool(expected.isfinite().all()):
        return False
    gaps = agreement.gaps(evidence.output, expected, subject.scale(expected))
    return float(gaps.max()) <= EXPLAINED


def _ignored_parameters(subject: Subject, evidence: Sequence[Evidence]) -> str:
    """A parameter that is taken and not used: the output is the same whatever its value."""
    if not all(each.world.varied and _ignores(subject, each) for each in evidence):
        return ""
    names = dict.fromkeys(each.world.varied for each in evidence)
    listed = ", ".join(f"`{name}`" for name in names)
    return f"it ignores {listed}: the output is the same whatever its value"


def _ignores(subject: Subject, evidence: Evidence) -> bool:
    """Whether the output is that of the parameter's default, or of its usual value here."""
    world, name = evidence.world, evidence.world.varied
    default = subject.method.defaults[name]
    usual = {name: default, **base(subject.method)}[name]
    for value in (default, usual):
        try:
            other = subject(replace(world, params={**world.params, name: value}))
        except (CheckFailed, Skipped, TypeError, ValueError):
            continue
        if torch.equal(other.detach().double(), evidence.output):
            return True
    return False
