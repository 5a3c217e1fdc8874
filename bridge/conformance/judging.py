"""Agreement with the reference in one world: to rounding, or for random methods on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bridge.conformance.subject import CheckFailed, Subject
from bridge.conformance.worlds import World
from bridge.core.types import Agreement
from bridge.metrics import agreement

DRAWS = 100  # in the first world and where a parameter is varied; a third of it in the others
# After so many draws a difference that is thrice as large as it may be ends it.
FIRST_LOOK = 20
# Neighbouring pixels share their noise, so that the mean of a thousand squares scatters by 0.3.
SQUARE_LIMIT = 3.0
# Of some thousand pixels one exceeds 7 standard errors by chance once in a hundred million checks.
Z_LIMIT = 7.0
SPREAD_LIMIT = 4 / 3


def tolerance(subject: Subject, world: World) -> tuple[Tensor, float]:
    """The reference in float64, and the noise floor: itself in float32 against it."""
    expected = subject.reference(world)
    single = subject.reference(world.single())
    return expected, agreement.noise_floor(single, expected, subject.scale)


def same(subject: Subject, output: Tensor, expected: Tensor, noise: float) -> Agreement:
    """The float64 verdict on one output."""
    return agreement.judge(
        output, output, expected.float(), expected, noise=noise, scale=subject.scale
    )


def agrees(subject: Subject, world: World) -> Mapping[str, Any]:
    """Raise CheckFailed where the output differs from the reference by more than rounding."""
    expected, noise = tolerance(subject, world)
    found = same(subject, subject(world).detach(), expected, noise)
    if found.verdict == "differs":
        rounding = min(found.noise, agreement.FLOAT64_NOISE)
        raise CheckFailed(
            f"differs from the reference on {found.images} of {len(world.x)} images by up to "
            f"{found.gap:.2e} (rounding would be {rounding:.0e})"
            + (f": {found.cause}" if found.cause else "")
        )
    return {"verdict": found.verdict, "gap": found.gap}


def agrees_on_average(subject: Subject, world: World, draws: int) -> Mapping[str, Any]:
    """For a function that draws in its own order: means and spreads over many seeds."""
    expected, noise = tolerance(subject, world)
    if same(subject, subject(world).detach(), expected, noise).verdict != "differs":
        return {"verdict": "equal under the same seed"}
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    figures: Mapping[str, Any] = {}
    for count, slack in ((min(FIRST_LOOK, draws), 3), (draws, 1)):
        for seed in range(len(ours), count):
            ours.append(subject.reference(world, seed))
            theirs.append(subject(world, seed).detach().double())
        figures = averages(ours, theirs, slack)
    return figures


def averages(
    of_ours: Sequence[Tensor], of_theirs: Sequence[Tensor], slack: int = 1
) -> Mapping[str, Any]:
    """Raise CheckFailed where the outputs of two implementations, one a draw, differ on average."""
    ours, theirs, draws = torch.stack(list(of_ours)), torch.stack(list(of_theirs)), len(of_ours)
    if theirs.shape != ours.shape:
        shapes = f"{tuple(theirs.shape[1:])}, expected {tuple(ours.shape[1:])}"
        raise CheckFailed(f"the output has shape {shapes}")
    variance_ours, variance_theirs = ours.var(0), theirs.var(0)
    error = ((variance_ours + variance_theirs) / draws).sqrt()
    each = (ours.mean(0) - theirs.mean(0)).abs() / (error + 1e-9 * float(ours.abs().max()))
    z, square = float(each.max()), float(each.square().mean())
    spread = float((variance_theirs.mean() / variance_ours.mean().clamp(min=1e-30)).sqrt())
    most = SPREAD_LIMIT**slack
    spreads = float(variance_ours.mean()) > 1e-20
    close = z <= Z_LIMIT * slack and square <= SQUARE_LIMIT * slack
    if not close or (spreads and not 1 / most < spread < most):
        raise CheckFailed(
            f"over {draws} seeds its mean is {z:.1f} standard errors away from the reference's "
            f"(chance explains {Z_LIMIT:g}), {square:.1f} squared on average (chance: 1), and its "
            f"spread is {spread:.2f} times the reference's"
        )
    return {"z": z, "square": square, "spread": spread}


def draws_itself(subject: Subject, world: World) -> bool:
    """Whether the reference still draws random numbers once all that can be told is told."""
    try:
        one, two = (subject.reference(world, seed) for seed in (1, 2))
    except (CheckFailed, TypeError, ValueError):
        return False
    return not torch.equal(one, two)
