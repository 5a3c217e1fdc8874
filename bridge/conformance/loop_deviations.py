"""Where the loop of a gradient attack goes wrong: clips, projections, start, stop, momentum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bridge.conformance.recipe import Detailed, Deviation, Loss, deviation, part
from bridge.conformance.step_deviations import over_mean
from bridge.conformance.worlds import World
from bridge.core.norms import TINY, l2_norm, per_image, project_l2, project_linf, unit_l1, unit_l2

CLIPS: list[Deviation] = []
LOOPS: list[Deviation] = []

# Clipping.

part("it does not clip to the bounds", CLIPS, clip=None)
part("it clips to [-1, 1] instead of [0, 1]", CLIPS, clip=(-1.0, 1.0))
part("it clips to [-2, 2] instead of [0, 1]", CLIPS, clip=(-2.0, 2.0))


def _normalised(recipe: Detailed, world: World, low: float, high: float) -> Detailed | None:
    """Clipped to bounds in normalised units."""
    mean, std = world.model.mean, world.model.std
    if mean is None or std is None:
        return None
    return replace(recipe, clip=(mean + low * std, mean + high * std))


@deviation("it clips to [-2, 2] in normalised units", CLIPS)
def clip_normalised_2(recipe: Detailed, world: World) -> Detailed | None:
    return _normalised(recipe, world, -2, 2)


@deviation("it clips to [-1, 1] in normalised units", CLIPS)
def clip_normalised_1(recipe: Detailed, world: World) -> Detailed | None:
    return _normalised(recipe, world, -1, 1)


@deviation("it clips to [0, 1] in normalised units", CLIPS)
def clip_normalised_0(recipe: Detailed, world: World) -> Detailed | None:
    return _normalised(recipe, world, 0, 1)


part("it clips to [0, 255]", CLIPS, clip=(0.0, 255.0))


@deviation("it clips from above only", CLIPS)
def clip_above(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, clip=(-torch.inf, world.model.bounds[1]))


@deviation("it clips from below only", CLIPS)
def clip_below(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, clip=(world.model.bounds[0], torch.inf))


@deviation("it clips to each batch's own minimum and maximum", CLIPS)
def clip_to_batch(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, clip=(float(world.x.min()), float(world.x.max())))


@deviation("it clips before it projects", CLIPS)
def clip_before(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, clip=None, clip_before=recipe.clip)


@deviation("it clips at the end only", CLIPS)
def clip_at_end(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, clip=None, clip_at_end=recipe.clip)


# Steps and projections.


@deviation("it takes one step less", LOOPS)
def one_less(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, steps=recipe.steps - 1)


@deviation("it takes one step more", LOOPS)
def one_more(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, steps=recipe.steps + 1)


def previous_iterate(x: Tensor, previous: Tensor) -> Tensor:
    """the previous iterate."""
    return previous


def project_batch(moved: Tensor, center: Tensor, epsilon: Any) -> Tensor:
    """the ball of the norm of the whole batch."""
    delta = moved - center
    return center + delta * (epsilon / delta.norm().clamp(min=TINY)).clamp(max=1)


def to_the_sphere(moved: Tensor, center: Tensor, epsilon: Any) -> Tensor:
    """x + delta * epsilon / norm2(delta)."""
    delta = moved - center
    return center + delta * (epsilon / per_image(l2_norm(delta).clamp(min=TINY), delta))


part("it takes a single step", LOOPS, steps=1)
part("it does not project onto the ball", LOOPS, project=None)
part(
    "it projects around the previous iterate instead of the clean image",
    LOOPS,
    center=previous_iterate,
)


@deviation("it projects at the end only", LOOPS)
def project_at_end(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, project=None, project_at_end=recipe.project)


part("it projects onto the Linf ball", LOOPS, project=project_linf)
part("it projects onto the L2 ball", LOOPS, project=project_l2)
part("it projects with the norm of the whole batch", LOOPS, project=project_batch)
part(
    "it always rescales to the sphere instead of projecting onto the ball",
    LOOPS,
    project=to_the_sphere,
)

# Starting and stopping.


@deviation("it starts from the clean image, not from the start", LOOPS)
def from_the_image(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, start=world.x)


def each_that_is_fooled(fooled: Tensor) -> Tensor:
    """each image that is fooled."""
    return fooled


def all_when_all_are(fooled: Tensor) -> Tensor:
    """the moment when all images are fooled."""
    return torch.full_like(fooled, bool(fooled.all()))


def of_best_loss(iterates: list[Tensor], loss: Loss, sign: float) -> Tensor:
    """The iterate after the first step that serves the attack best, the earliest among equals."""
    best = torch.stack([sign * loss(images) for images in iterates[1:]]).argmax(0)
    return torch.stack(iterates[1:])[best, torch.arange(len(best))]


def of_largest_loss(iterates: list[Tensor], loss: Loss, sign: float) -> Tensor:
    """the iterate of largest loss."""
    return of_best_loss(iterates, loss, 1.0)


part("images that are fooled stop early", LOOPS, stops=each_that_is_fooled)
part("it stops when all images are fooled", LOOPS, stops=all_when_all_are)
part("it returns the iterate of largest loss, not the last", LOOPS, keep=of_best_loss)
part(
    "it returns the iterate of largest loss, not the last, also where the loss is to fall",
    LOOPS,
    keep=of_largest_loss,
)
part("it uses the gradient of the first step throughout", LOOPS, first_gradient=True)

# Momentum: of an attack that has none, and of one that has.


def _added(recipe: Detailed, decay: float) -> Detailed | None:
    if recipe.has_momentum:
        return None
    return replace(recipe, momentum=decay, momentum_norm=unit_l1)


def _changed(recipe: Detailed, **changes: Any) -> Detailed | None:
    return replace(recipe, **changes) if recipe.has_momentum else None


@deviation("it adds momentum (decay 1)", LOOPS)
def momentum_1(recipe: Detailed, world: World) -> Detailed | None:
    return _added(recipe, 1.0)


@deviation("it adds momentum (decay 0.9)", LOOPS)
def momentum_09(recipe: Detailed, world: World) -> Detailed | None:
    return _added(recipe, 0.9)


@deviation("it has no momentum: each step follows its own gradient alone", LOOPS)
def no_momentum(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum=0.0)


@deviation("it adds the gradient to its momentum without normalising it", LOOPS)
def momentum_raw(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum_norm=None)


@deviation("it divides the gradient by its L1 norm before adding it to its momentum", LOOPS)
def momentum_l1(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum_norm=unit_l1)


@deviation("it divides the gradient by its L2 norm before adding it to its momentum", LOOPS)
def momentum_l2(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum_norm=unit_l2)


@deviation("it adds the gradient's sign to its momentum", LOOPS)
def momentum_sign(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum_norm=torch.sign)


LED = "it takes the gradient where its momentum leads (Nesterov, NI-FGSM)"


@deviation(LED, LOOPS)
def nesterov(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, ahead=True)


@deviation(f"{LED}, each gradient over its mean absolute value", LOOPS)
def nesterov_of_means(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, ahead=True, momentum_norm=over_mean)


@deviation("its momentum's decay is always 1", LOOPS)
def decay_1(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum=1.0)


@deviation("its momentum's decay is always 0.9", LOOPS)
def decay_09(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum=0.9)


@deviation("its momentum's decay is always 0.5", LOOPS)
def decay_05(recipe: Detailed, world: World) -> Detailed | None:
    return _changed(recipe, momentum=0.5)
