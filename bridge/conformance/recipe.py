"""A gradient attack followed step by step, every detail exchangeable: what diagnosis changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from bridge.conformance.subject import Subject
from bridge.conformance.worlds import World
from bridge.core.edits import equation
from bridge.core.gradients import predicted
from bridge.core.model import ModelAdapter
from bridge.core.norms import per_image
from bridge.core.recipe import Project, Recipe
from bridge.core.state import frozen

Loss = Callable[[Tensor], Tensor]  # of images, (n,)
Walk = Callable[[Tensor], Tensor]  # of a gradient, and of those that it was given before


def given_labels(model: ModelAdapter, x: Tensor, labels: Tensor) -> Tensor:
    """the labels that were given."""
    return labels


def clean_image(x: Tensor, previous: Tensor) -> Tensor:
    return x


def never(fooled: Tensor) -> Tensor:
    return torch.zeros_like(fooled)


def last(iterates: list[Tensor], loss: Loss, sign: float) -> Tensor:
    return iterates[-1]


@dataclass(frozen=True)
class Detailed(Recipe):
    """A recipe with what no attack states, since all of them do the same: only mistakes change it.

    `labels(model, x, labels)` are the classes of the loss; `center(x, previous)` is what it
    projects around; `clip_before` (the projection) and `clip_at_end` are bounds for there,
    `project_at_end` a projection; `stops(fooled)` says which images stay where they are;
    `keep(iterates, loss, sign)` picks the iterate, sign * loss(images) being what is climbed;
    `first_gradient` is used throughout; with `ahead` the gradient is taken where the momentum
    leads; `optimiser()` makes what turns gradients one after another into steps of size 1, instead
    of `direction`; `perturbation` is returned instead of the images.
    """

    labels: Callable[[ModelAdapter, Tensor, Tensor], Tensor] = given_labels
    center: Callable[[Tensor, Tensor], Tensor] = clean_image
    clip_before: tuple[Any, Any] | None = None
    clip_at_end: tuple[Any, Any] | None = None
    project_at_end: Project | None = None
    stops: Callable[[Tensor], Tensor] = never
    keep: Callable[[list[Tensor], Loss, float], Tensor] = last
    first_gradient: bool = False
    ahead: bool = False
    optimiser: Callable[[], Walk] | None = None
    perturbation: bool = False

    def lines(self) -> dict[str, tuple[str, str]]:
        """The lines of its loop: what each computes, and what to do to have it so."""
        along = equation(self.direction if self.optimiser is None else self.optimiser)
        told = "g" if self.momentum_norm is None else equation(self.momentum_norm)
        told = re.sub(r"\bv\b", "g", told.removesuffix(" for each image"))
        summed = f"m = {self.momentum:g} m + {told}" if self.has_momentum else "no momentum"
        at = ("x_0" if self.first_gradient else "x_k") + (" + step * mu * m" if self.ahead else "")
        loss, labels, step = equation(self.loss), equation(self.labels), _number(self.step)
        clip, back = _clip(self.clip), _back(self.project)
        back += "" if self.center is clean_image else f", around {equation(self.center)}"
        taken = "all steps" if self.stops is never else f"it stops at {equation(self.stops)}"
        kept = "the last iterate" if self.keep is last else equation(self.keep)
        late = f"{_back(self.project_at_end)}, {_clip(self.clip_at_end)} at the end"
        moved = "x' = x_k - step * d" if self.targeted else "x' = x_k + step * d"
        returned = "x_n - x" if self.perturbation else "x_n"
        return {
            "loss": (f"L = {loss}", f"differentiate {loss}"),
            "labels": (f"L of {labels}", f"pass the loss {labels}"),
            "sign": (moved, f"step so: {moved}"),
            "where": (f"g at {at}", f"take the gradient at {at}"),
            "momentum": (summed, f"sum gradients up as {summed}"),
            "direction": (f"d = {along}", f"step along d = {along}"),
            "step": (f"step = {step}", f"take step = {step}, as asked"),
            "epsilon": (f"epsilon = {_number(self.epsilon)}", "use epsilon as it is asked"),
            "before": (f"{_clip(self.clip_before)} before projecting", "project first, then clip"),
            "project": (back, f"in each step: {back}"),
            "clip": (clip, f"end each step with {clip}"),
            "steps": (f"{self.steps} steps", f"loop {self.steps} times here, as asked"),
            "stops": (taken, "take all steps, whatever is fooled already"),
            "keep": (f"returns {kept}", f"return {kept}"),
            "late": (late, "do so in each step, and nothing after the last"),
            "returned": (f"returns {returned}", f"return {returned}"),
        }

    def walk(self) -> Walk:
        """What turns each gradient into a step of size 1."""
        return self.direction if self.optimiser is None else self.optimiser()

    def led(self, velocity: Tensor, sign: float) -> Tensor | float:
        """How far from an iterate the gradient is taken."""
        return sign * self.step * self.momentum * velocity if self.ahead else 0.0

    @property
    def has_momentum(self) -> bool:
        """Whether it sums gradients up, also where its decay is 0 and nothing is left of a sum."""
        return self.momentum != 0 or self.momentum_norm is not None


def _number(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel() > 1:
        return "one number a channel"
    return f"{float(value):.4g}"


def _clip(bounds: tuple[Any, Any] | None) -> str:
    if bounds is None:
        return "no clip"
    low, high = (_number(torch.as_tensor(bound)) for bound in bounds)
    return f"x'.clamp({low}, {high})"


def _back(project: Project | None) -> str:
    return "no projection" if project is None else equation(project)


Change = Callable[[Detailed, World], Detailed | None]


@dataclass(frozen=True)
class Deviation:
    """A way to deviate from a recipe, in words; `change(recipe, world)` is None where it cannot."""

    sentence: str
    change: Change


def deviation(sentence: str, group: list[Deviation]) -> Callable[[Change], Change]:
    """Add a function that changes a recipe to a group of deviations."""

    def register(change: Change) -> Change:
        group.append(Deviation(sentence, change))
        return change

    return register


def part(sentence: str, group: list[Deviation], **changes: Any) -> None:
    """Add a deviation that puts something else into one field of the recipe."""

    def change(recipe: Detailed, world: World) -> Detailed:
        return replace(recipe, **changes)

    group.append(Deviation(sentence, change))


def standard(subject: Subject, world: World) -> Detailed:
    """The recipe of the method itself with this world's parameters."""
    stated = subject.method.tags.recipe
    if stated is None:
        raise ValueError(f"{subject.method.name} has no recipe: give it one with recipe=")
    recipe = stated(world.x, world.model.bounds, **subject.settings(world))
    return Detailed(**{field.name: getattr(recipe, field.name) for field in fields(Recipe)})


def follow(recipe: Detailed, world: World) -> Tensor:
    """What an attack of this recipe returns, (n, c, h, w)."""
    x, model, sign = world.x, world.model, -1.0 if recipe.targeted else 1.0

    def loss(images: Tensor) -> Tensor:
        with torch.no_grad():
            return recipe.loss(model(images), labels)

    with frozen(model), torch.enable_grad():
        labels = recipe.labels(model, x, world.target)
        iterates, first, velocity = [recipe.start], None, torch.zeros_like(x)
        walk = recipe.walk()
        for _ in range(recipe.steps):
            here = iterates[-1]
            g, logits = _look(recipe, model, here + recipe.led(velocity, sign), labels)
            first = g if first is None else first
            g = first if recipe.first_gradient else g
            if recipe.has_momentum:
                normalised = g if recipe.momentum_norm is None else recipe.momentum_norm(g)
                g = velocity = recipe.momentum * velocity + normalised
            moved = here + sign * recipe.step * walk(g)
            stops = recipe.stops((predicted(logits) == labels) == recipe.targeted)
            back = moved_back(recipe, moved, recipe.center(x, here))
            iterates.append(torch.where(per_image(stops, x), here, back))
        kept = recipe.keep(iterates, loss, sign)
    if recipe.project_at_end is not None:
        kept = recipe.project_at_end(kept, x, recipe.epsilon)
    kept = clipped(kept, recipe.clip_at_end)
    return (kept - x if recipe.perturbation else kept).detach()


def _look(
    recipe: Detailed, model: ModelAdapter, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient of the loss at these images, and their logits."""
    leaf = images.detach().requires_grad_()
    logits = model(leaf)
    (gradient,) = torch.autograd.grad(recipe.loss(logits, labels).sum(), leaf)
    return gradient, logits.detach()


def moved_back(recipe: Detailed, moved: Tensor, center: Tensor) -> Tensor:
    """Back into the ball and the bounds."""
    moved = clipped(moved, recipe.clip_before)
    if recipe.project is not None:
        moved = recipe.project(moved, center, recipe.epsilon)
    return clipped(moved, recipe.clip)


def clipped(x: Tensor, bounds: tuple[Any, Any] | None) -> Tensor:
    return x if bounds is None else x.clamp(*bounds)
