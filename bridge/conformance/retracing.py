"""An attack's steps explained one by one, each from where the code really was.

What it asked the model about are its iterates. The start and the number of steps are read; loss,
direction, size, clip, projection and what is returned are searched, the fewest deviations first: a
candidate that does not make the first step is dropped at once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bridge.conformance.loop_deviations import CLIPS, LOOPS
from bridge.conformance.recipe import Detailed, Deviation, clipped, moved_back, standard
from bridge.conformance.starting import of_start, of_steps, told_to_draw
from bridge.conformance.step_deviations import DIRECTIONS, LOSSES, SIZES
from bridge.conformance.subject import Subject
from bridge.conformance.watching import Watched
from bridge.core.gradients import predicted
from bridge.core.norms import per_image
from bridge.core.state import frozen

CLOSE = 8e-6  # of a pixel, for what works in float64
SINGLE = 2e-4  # for what works in float32: signs of tiny gradients flip there, of few pixels
FLIPPED = 0.02
MOST = 3  # deviations that are searched at once; those that are read come on top
# Pixels that follow a direction, where it is the right one: others are clipped or projected.
FOLLOWING = 0.05
SECONDS = 5.0  # of this process, after which the search ends without a cause
# Read, not searched.
READ = ("one step less", "one step more", "a single step", "not from the start")


@dataclass
class Trace:
    """A watched call, and what was computed at its iterates: gradients and logits by loss."""

    watched: Watched
    standard: Detailed
    single: bool
    free_step: bool
    known: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict)
    classes: dict[Any, Tensor] = field(default_factory=dict)
    steps: dict[Any, tuple[float, float]] = field(default_factory=dict)

    def labels(self, recipe: Detailed) -> Tensor:
        """The classes of the recipe's loss."""
        if recipe.labels not in self.classes:
            world = self.watched.world
            with frozen(world.model):
                found = recipe.labels(world.model, world.x, world.target)
            self.classes[recipe.labels] = found
        return self.classes[recipe.labels]

    def look(self, k: int, recipe: Detailed) -> tuple[Tensor, Tensor]:
        """The gradient of the recipe's loss at iterate k, and the logits there."""
        key = k, recipe.loss, recipe.labels
        if key not in self.known:
            leaf, world = self.watched.asked[k].clone().requires_grad_(), self.watched.world
            with frozen(world.model), torch.enable_grad():
                logits = world.model(leaf)
                (g,) = torch.autograd.grad(recipe.loss(logits, self.labels(recipe)).sum(), leaf)
            self.known[key] = g, logits.detach()
        return self.known[key]

    def first_step(self, recipe: Detailed) -> tuple[float, float]:
        """How far most pixels follow the recipe's direction in the first step, and how many do."""
        normalised = recipe.momentum_norm if recipe.has_momentum else None
        way = recipe.direction, recipe.optimiser
        key = recipe.loss, recipe.labels, way, normalised, recipe.perturbation
        if key not in self.steps:
            watched, (g, _) = self.watched, self.look(0, recipe)
            after = watched.asked[1] if len(watched.asked) > 1 else watched.output
            if recipe.perturbation and len(watched.asked) == 1:
                after = watched.world.x + after
            along = recipe.walk()(g if normalised is None else normalised(g))
            digits = 1e-3 if self.single else 1e-6
            self.steps[key] = usual_step(after - watched.asked[0], along, digits)
        return self.steps[key]

    def explained(self, recipe: Detailed) -> bool:
        """Whether the recipe leads from each iterate to the next, and to the answer."""
        size, share = self.first_step(recipe)
        if share < FOLLOWING and not recipe.ahead:
            return False
        if self.free_step:
            recipe = replace(recipe, step=size if recipe.targeted is False else -size)
        asked, x = self.watched.asked, self.watched.world.x
        sign, velocity = -1.0 if recipe.targeted else 1.0, torch.zeros_like(x)
        walk = recipe.walk()
        for k, question in enumerate(asked):
            here = question - recipe.led(velocity, sign)
            g, logits = self.look(0 if recipe.first_gradient else k, recipe)
            if recipe.has_momentum:
                normalised = g if recipe.momentum_norm is None else recipe.momentum_norm(g)
                g = velocity = recipe.momentum * velocity + normalised
            along = walk(g)
            moved = here + sign * recipe.step * along
            fooled = (predicted(logits) == self.labels(recipe)) == recipe.targeted
            stops = recipe.stops(fooled)
            back = moved_back(recipe, moved, recipe.center(x, here))
            following = torch.where(per_image(stops, x), here, back)
            led = following + recipe.led(velocity, sign)
            if k + 1 < len(asked) and not self._close(led, asked[k + 1]):
                return False
        return self._close(self._returned(recipe, [*asked, following], sign), self.watched.output)

    def _returned(self, recipe: Detailed, iterates: list[Tensor], sign: float) -> Tensor:
        world, labels = self.watched.world, self.labels(recipe)

        def loss(images: Tensor) -> Tensor:
            with torch.no_grad(), frozen(world.model):
                return recipe.loss(world.model(images), labels)

        kept = recipe.keep(iterates, loss, sign)
        if recipe.project_at_end is not None:
            kept = recipe.project_at_end(kept, world.x, recipe.epsilon)
        kept = clipped(kept, recipe.clip_at_end)
        return (kept - world.x if recipe.perturbation else kept).detach()

    def _close(self, one: Tensor, other: Tensor) -> bool:
        if one.shape != other.shape:
            return False
        gaps = (one - other).abs()
        if not self.single:
            return float(gaps.max()) <= CLOSE
        return float((gaps > SINGLE).double().mean()) <= FLIPPED


def usual_step(move: Tensor, along: Tensor, digits: float) -> tuple[float, float]:
    """The factor by which most pixels follow a direction, and the share of those that do.

    Clipped and projected ones do not.
    """
    there = along.abs() > 1e-9 * along.abs().max()
    ratio = (move / along)[there]
    if not len(ratio):
        return 0.0, 1.0
    unit = ratio.abs().median().clamp(min=1e-12) * digits
    values, counts = (ratio / unit).round().unique(return_counts=True)
    near = counts + torch.roll(counts, 1) * (values.diff(prepend=values[:1] - 2) < 1.5)
    best = int(near.argmax())
    return float(values[best] * unit), float(near[best]) / len(ratio)


def retraced(subject: Subject, watched: Sequence[Watched]) -> tuple[list[str], list[str]] | None:
    """What was read and what was found, in sentences, where they explain all calls; else None."""
    calls = [w for w in watched if w.asked]
    if subject.method.tags.recipe is None or not calls:
        return None
    read: dict[str, None] = {}
    traces = []
    for call in calls:
        recipe = standard(subject, call.world)
        # How a start is drawn is read once: two draws would be told in two ways.
        starts: tuple[str, ...] = ()
        if call is calls[0]:
            starts = (*of_start(subject, recipe, call), *told_to_draw(subject, call.world))
        for sentence in (*of_steps(recipe, call), *starts):
            read.setdefault(sentence)
        free = "step_size" in subject.own and not callable(subject.own["step_size"])
        traces.append(Trace(call, recipe, subject.single, free))
    # One that tells nothing about the loop comes last.
    traces.sort(key=lambda trace: -len(trace.watched.asked))
    end = time.process_time() + SECONDS
    for found in _combinations():
        if all(_explains(found, trace) for trace in traces):
            return list(read), [each.sentence for each in found]
        if time.process_time() > end:
            break
    return None


def _explains(deviations: Sequence[Deviation], trace: Trace) -> bool:
    recipe = trace.standard
    try:
        for deviation in deviations:
            changed = deviation.change(recipe, trace.watched.world)
            if changed is None:
                return False
            recipe = changed
        return trace.explained(recipe)
    except (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError):
        return False


def _combinations() -> Iterator[tuple[Deviation, ...]]:
    """None, then one, two and three deviations of different kinds."""
    loops = [each for each in LOOPS if not any(words in each.sentence for words in READ)]
    # What gives the same numbers is told as the first of these: no projection before a larger ball.
    groups = [LOSSES, CLIPS, loops, SIZES, DIRECTIONS]
    for count in range(MOST + 1):
        for chosen in itertools.combinations(groups, count):
            yield from itertools.product(*chosen)
