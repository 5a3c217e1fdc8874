"""What is read off an attack's first question and their number: its start, and its steps."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from bridge.conformance.recipe import Detailed, standard
from bridge.conformance.subject import Subject
from bridge.conformance.watching import Watched, watch
from bridge.conformance.worlds import World
from bridge.core.edits import Edit
from bridge.core.norms import l2_norm

STILL = 1e-6
NORMAL = 0.26  # of its range is the spread of what is no uniform noise, whose spread is 0.29
FEW = 200  # pixels, below which nothing is said of how a start is drawn


def of_steps(recipe: Detailed, call: Watched) -> Iterator[str]:
    """Where it takes more or fewer steps than it is told."""
    taken, wanted = len(call.asked), recipe.steps
    if taken == wanted:
        return
    if abs(taken - wanted) == 1 and wanted > 1:
        yield f"it takes one step {'less' if taken < wanted else 'more'}"
    else:
        yield f"it takes {taken} step{'s' if taken > 1 else ''} where {wanted} are asked"


def told_to_draw(subject: Subject, world: World) -> Iterator[str]:
    """How code that can be told to draw its start, but not the start, deviates in drawing it.

    Everything else is compared without: two draws have nothing in common but their law.
    """
    defaults = subject.method.defaults
    told = "random_start" in defaults and subject.accepts("random_start")
    if not told or subject.accepts("start") or subject.method.tags.recipe is None:
        return
    call = watch(subject, world, random_start=True)
    if call is not None and call.asked:
        yield from of_start(subject, standard(subject, world), call, drawn=True)


def of_start(
    subject: Subject, recipe: Detailed, call: Watched, drawn: bool | None = None
) -> Iterator[str]:
    """Where it starts elsewhere than it should; `drawn`: from a random point."""
    x, first = call.world.x, call.asked[0]
    drawn = _draws(subject, call) if drawn is None else drawn
    if float((first - recipe.start).abs().max()) < STILL:
        if drawn:
            yield "it starts from the clean image, not from a random point"
        return
    if float((first - x).abs().max()) < STILL:
        yield "it starts from the clean image, not from the start"
        return
    if not drawn:
        yield "it starts from a random point, not from the image"
    low, high = call.world.model.bounds
    outside = bool((first < low - STILL).any() or (first > high + STILL).any())
    if drawn and outside:
        yield "its start is not clipped to the bounds"
    yield from _law(subject, recipe, first - x, call, drawn)


def edit_of_start(subject: Subject, sentence: str) -> Edit | None:
    """What to change where the start, or the number of steps, was read to be another."""
    if "random_start" in subject.method.defaults and re.match("its start|it starts", sentence):
        noise = (
            "uniform(-epsilon, epsilon)"
            if subject.method.norm == "linf"
            else "epsilon * a uniform point of the unit ball"
        )
        start = f"x_0 = clip(x + {noise})"
        return Edit(sentence.removeprefix("it "), start, f"start at {start}")
    if re.match(r"it takes (one step|\d+ steps?) ", sentence):
        return Edit(
            sentence.removeprefix("it "),
            "x_1 ... x_steps, one gradient each",
            "loop range(steps) times",
        )
    return None


def _draws(subject: Subject, call: Watched) -> bool:
    """Whether the method itself would draw its start here."""
    settings = subject.settings(call.world)
    return bool(settings.get("random_start", False)) and settings.get("start") is None


def _law(
    subject: Subject, recipe: Detailed, noise: Tensor, call: Watched, drawn: bool
) -> Iterator[str]:
    """How it is drawn, where that is not uniform in the ball."""
    epsilon = float(torch.as_tensor(recipe.epsilon).max())
    if subject.method.norm == "l2":
        largest = float(l2_norm(noise).max())
        if drawn and largest > epsilon * (1 + STILL):
            yield "its start lies outside of the ball"
        return
    x, (low, high) = call.world.x, call.world.model.bounds
    inside = noise[(x > low + epsilon) & (x < high - epsilon)] / epsilon
    if len(inside) < FEW:
        return
    least, most, spread = float(inside.min()), float(inside.max()), float(inside.std())
    if spread < NORMAL * (most - least):
        yield f"its start is normal noise (std {spread:.2g} epsilon)"
    elif least > -STILL or most < STILL:
        yield "its start is on one side only (uniform from 0)"
    elif drawn and (most - least < 1.8 or most > 1 + STILL):
        yield f"its start is uniform in {least:.1g} to {most:.1g} epsilon"
