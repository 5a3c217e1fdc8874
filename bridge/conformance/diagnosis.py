"""What is wrong: the recognisable causes are computed, and the one whose output is the function's own is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.conformance import attack_causes, attribution_causes
from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import BASE, World
from bridge.metrics import agreement

# A cause explains an output if nothing is left but what float32 inside of it may round.
EXPLAINED = 8e-6
NOT_RECOGNISED = "cause not recognised: the output is none of the known variants of the method"


@dataclass(frozen=True)
class Evidence:
    """What the function gave in one world where it disagrees."""

    world: World
    output: Tensor


def diagnose(subject: Subject, failing: Sequence[World]) -> str:
    """The cause of the disagreements in one sentence with its figure, "" where no output disagrees."""
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
    finite = [e for e in evidence if bool(e.output.isfinite().all())]
    if not finite:
        return f"the output has values that are not finite ({evidence[0].world.name})"
    evidence = finite
    ignored = _ignored_parameters(subject, evidence)
    if ignored:
        return ignored
    best, explained = "", 0
    for sentence, predict in _causes(subject):
        count = 0
        for each in evidence:
            if not _explains(subject, predict, each):
                break
            count += 1
        if count == len(evidence):
            plural = "s" if len(evidence) > 1 else ""
            return f"{sentence} (explains {len(evidence)} of {len(evidence)} disagreement{plural} to within {EXPLAINED:.0e})"
        if count > explained:
            best, explained = sentence, count
    if explained >= 2:
        return f"{best} (explains {explained} of {len(evidence)} disagreements; something else is different as well)"
    return NOT_RECOGNISED


Predict = Callable[[Subject, World], Tensor | None]


def _causes(subject: Subject) -> Iterator[tuple[str, Predict]]:
    if subject.method.kind == "attack":
        yield from attack_causes.causes(subject)
    else:
        yield from attribution_causes.causes(subject)


def _explains(subject: Subject, predict: Predict, evidence: Evidence) -> bool:
    try:
        expected = predict(subject, evidence.world)
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError, ArithmeticError, CheckFailed):
        return False  # this variant makes no sense here, so it is not what happened
    if expected is None or expected.shape != evidence.output.shape or not bool(expected.isfinite().all()):
        return False
    scale = agreement.image_scale(expected) if subject.method.kind == "attribution" else 1.0
    return float(agreement.gaps(evidence.output, expected, scale).max()) <= EXPLAINED


def _ignored_parameters(subject: Subject, evidence: Sequence[Evidence]) -> str:
    """A parameter that is taken and not used: the output is the same whatever its value."""
    varied = [e for e in evidence if "=" in e.world.name]
    if not varied or len(varied) != len(evidence):
        return ""
    names = []
    base = BASE.get(subject.method.name, {})
    for each in varied:
        name = each.world.name.partition("=")[0]
        before = {k: v for k, v in each.world.params.items() if k != name}
        for value in (subject.method.defaults.get(name), base.get(name, subject.method.defaults.get(name))):
            try:
                other = subject(
                    World(each.world.name, each.world.model, each.world.x, each.world.target, {**before, name: value})
                )
            except (CheckFailed, Skipped, TypeError, ValueError):
                continue
            if torch.equal(other.detach().double(), each.output):
                names.append(name)
                break
    if len(names) == len(varied):
        listed = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
        return f"it ignores {listed}: the output is the same whatever its value"
    return ""
