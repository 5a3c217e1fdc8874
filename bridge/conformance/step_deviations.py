"""Where one step of a gradient attack goes wrong: its loss, its direction, its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bridge.attacks._mistakes import negative_logit, sign_or_up, softmax_twice, unchanged
from bridge.conformance.recipe import Detailed, Deviation, Walk, deviation, part
from bridge.conformance.worlds import World
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.norms import TINY, per_image, unit_l1, unit_l2, unit_linf
from bridge.core.recipe import cross_entropy

Scale = Callable[[Tensor], Tensor]
LOSSES: list[Deviation] = []
DIRECTIONS: list[Deviation] = []
SIZES: list[Deviation] = []

# The loss, and whose.


def probability_missed(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - softmax(logits)_label."""
    return -target_logits(logits.softmax(1), labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """largest other logit - logit_label."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return others - target_logits(logits, labels)


def predicted_class(model: ModelAdapter, x: Tensor, labels: Tensor) -> Tensor:
    """argmax logits(x)."""
    return model(x).argmax(1).detach()


def first_label(model: ModelAdapter, x: Tensor, labels: Tensor) -> Tensor:
    """labels[0]."""
    return labels[:1].expand_as(labels)


def reversed_labels(model: ModelAdapter, x: Tensor, labels: Tensor) -> Tensor:
    """labels in reverse order."""
    return labels.flip(0)


def of_own_prediction(logits: Tensor, labels: Tensor) -> Tensor:
    """CE(logits, argmax logits) at each step."""
    return cross_entropy(logits, logits.detach().argmax(1))


part("it takes the loss on probabilities (softmax twice)", LOSSES, loss=softmax_twice)
part("it takes nll_loss on raw logits, which is -logit", LOSSES, loss=negative_logit)
part(
    "it maximises 1 - p of the label instead of the cross-entropy", LOSSES, loss=probability_missed
)
part("it uses the margin loss instead of the cross-entropy", LOSSES, loss=margin)
part("it steps away from the predicted class instead of the label", LOSSES, labels=predicted_class)
part("it uses the first image's label for all images", LOSSES, labels=first_label)
part("it uses the labels in reverse order", LOSSES, labels=reversed_labels)


part("it steps away from what is predicted at each step, not from the label", LOSSES,
     loss=of_own_prediction)  # fmt: skip


@deviation("it steps downhill: the sign is reversed", LOSSES)
def downhill(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, targeted=not recipe.targeted)


# The direction.


def over_batch_norm(g: Tensor) -> Tensor:
    return g / g.norm().clamp(min=TINY)


def over_channel_norm(g: Tensor) -> Tensor:
    return g / g.norm(dim=(2, 3), keepdim=True).clamp(min=TINY)


def over_pixel_norm(g: Tensor) -> Tensor:
    return g / g.norm(dim=1, keepdim=True).clamp(min=TINY)


def over_squared_norm(g: Tensor) -> Tensor:
    return g / per_image(g.flatten(1).square().sum(1).clamp(min=TINY), g)


def over_batch_maximum(g: Tensor) -> Tensor:
    return g / g.abs().max().clamp(min=TINY)


def over_channel_maximum(g: Tensor) -> Tensor:
    return g / g.abs().amax((2, 3), keepdim=True).clamp(min=TINY)


def over_signed_maximum(g: Tensor) -> Tensor:
    return g / g.amax((1, 2, 3), keepdim=True)


def over_mean(g: Tensor) -> Tensor:
    return g / g.abs().mean((1, 2, 3), keepdim=True).clamp(min=TINY)


part("it steps along the gradient's sign", DIRECTIONS, direction=torch.sign)
part("it takes sign(0) = 1: pixels without gradient move", DIRECTIONS, direction=sign_or_up)
part("it steps along the L2-normalised gradient", DIRECTIONS, direction=unit_l2)
part("it steps along the gradient without normalising it", DIRECTIONS, direction=unchanged)
part("it normalises by the norm of the whole batch", DIRECTIONS, direction=over_batch_norm)
part("it normalises by the L1 norm", DIRECTIONS, direction=unit_l1)
part("it normalises each channel alone", DIRECTIONS, direction=over_channel_norm)
part("it normalises each pixel alone", DIRECTIONS, direction=over_pixel_norm)
part("it divides by the squared norm", DIRECTIONS, direction=over_squared_norm)
part("it normalises by the largest value", DIRECTIONS, direction=unit_linf)
part("it normalises by the batch's largest value", DIRECTIONS, direction=over_batch_maximum)
part("it normalises by each channel's largest value", DIRECTIONS, direction=over_channel_maximum)
part(
    "it divides by the largest value without taking the absolute value",
    DIRECTIONS,
    direction=over_signed_maximum,
)
part("it normalises by the mean absolute value", DIRECTIONS, direction=over_mean)
part("it returns the perturbation instead of the images", DIRECTIONS, perturbation=True)

# Optimisers, which remember the gradients that they were given.


def _stepping(make: Callable[[list[Tensor]], torch.optim.Optimizer], scale: Scale) -> Walk:
    """what torch's optimiser adds to a parameter at rest, gradient after gradient."""
    made: list[torch.optim.Optimizer] = []

    def along(g: Tensor) -> Tensor:
        if not made:
            made.append(make([torch.zeros_like(g)]))
        (parameter,) = made[0].param_groups[0]["params"]
        parameter.zero_()
        parameter.grad = -scale(g)  # they descend
        made[0].step()
        return parameter.clone()

    return along


def _whole(g: Tensor) -> Tensor:
    return g


def _of_mean(g: Tensor) -> Tensor:
    return g / len(g)


OPTIMISERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "Adam": partial(torch.optim.Adam, lr=1.0),
    "RMSprop": partial(torch.optim.RMSprop, lr=1.0),
    "SGD with momentum 0.9": partial(torch.optim.SGD, lr=1.0, momentum=0.9),
}


def _by(optimiser: Callable[[], Walk], recipe: Detailed, world: World) -> Detailed | None:
    """With an optimiser; its first step alone tells nothing, which others make too."""
    return None if recipe.steps == 1 else replace(recipe, optimiser=optimiser)


for _name, _make in OPTIMISERS.items():
    for _scale, _of in ((_of_mean, "the mean loss"), (_whole, "the summed loss")):
        deviation(
            f"it steps as torch's {_name} on {_of} does, not by the method's own rule", DIRECTIONS
        )(partial(_by, partial(_stepping, _make, _scale)))

# The sizes.


def _budget(recipe: Detailed, factor: Any) -> Detailed:
    """Another epsilon, which is also the step of an attack of one step."""
    step = recipe.step * factor if recipe.steps == 1 else recipe.step
    return replace(recipe, epsilon=recipe.epsilon * factor, step=step)


@deviation("epsilon is halved", SIZES)
def epsilon_halved(recipe: Detailed, world: World) -> Detailed:
    return _budget(recipe, 0.5)


@deviation("epsilon is doubled", SIZES)
def epsilon_doubled(recipe: Detailed, world: World) -> Detailed:
    return _budget(recipe, 2.0)


@deviation("epsilon is divided by 255", SIZES)
def epsilon_in_bits(recipe: Detailed, world: World) -> Detailed:
    return _budget(recipe, 1 / 255)


@deviation("epsilon is in normalised units (times std)", SIZES)
def epsilon_normalised(recipe: Detailed, world: World) -> Detailed:
    return _budget(recipe, world.std)


@deviation("epsilon and step are in normalised units (times std)", SIZES)
def both_normalised(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, epsilon=recipe.epsilon * world.std, step=recipe.step * world.std)


@deviation("epsilon is divided by std", SIZES)
def epsilon_over_std(recipe: Detailed, world: World) -> Detailed:
    return _budget(recipe, 1 / world.std)


@deviation("the step is in normalised units (times std)", SIZES)
def step_normalised(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.step * world.std)


@deviation("the step is epsilon", SIZES)
def step_epsilon(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.epsilon)


@deviation("the step is halved", SIZES)
def step_halved(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.step / 2)


@deviation("the step is doubled", SIZES)
def step_doubled(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.step * 2)


@deviation("the step is epsilon / steps", SIZES)
def step_shared(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.epsilon / recipe.steps)


@deviation("the step is relative to epsilon", SIZES)
def step_relative(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.step * recipe.epsilon)


@deviation("the step is always the default 0.2 epsilon", SIZES)
def step_default(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=0.2 * recipe.epsilon)


@deviation("the step is always 2.5 epsilon / steps", SIZES)
def step_madry(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=2.5 * recipe.epsilon / recipe.steps)


@deviation("the step is 2 epsilon", SIZES)
def step_two(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=2 * recipe.epsilon)


@deviation("the step is 1.25 epsilon", SIZES)
def step_fast(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=1.25 * recipe.epsilon)


@deviation("the step is epsilon / 4", SIZES)
def step_quarter(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.epsilon / 4)


@deviation("the step is 1/255", SIZES)
def step_bit(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=1 / 255)


@deviation("the step is 2/255", SIZES)
def step_bits(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=2 / 255)


@deviation("the step is divided by 255", SIZES)
def step_in_bits(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.step / 255)


@deviation("the step is divided by the number of images (the loss is a mean over the batch)", SIZES)
def step_of_mean(recipe: Detailed, world: World) -> Detailed:
    return replace(recipe, step=recipe.step / len(world.x))
