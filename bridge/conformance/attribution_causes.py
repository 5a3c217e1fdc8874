"""The recognisable ways in which an attribution goes wrong, the simplest first.

A known variant of the method, another quantity that is explained, a map that is changed after; then
the first two followed by the third.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bridge.conformance.headed import headed
from bridge.conformance.map_changes import CHANGES, Change
from bridge.conformance.map_factors import factors, own_factor
from bridge.conformance.subject import Predict, Subject, variants
from bridge.conformance.worlds import World

# A world in which the method itself explains what the function explains.
Quantity = Callable[[World], World]
QUANTITIES: list[tuple[str, Quantity]] = []


def explained(sentence: str) -> Callable[[Quantity], Quantity]:
    """Register another quantity that is explained instead of the target's logit."""

    def register(quantity: Quantity) -> Quantity:
        QUANTITIES.append((sentence, quantity))
        return quantity

    return register


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(1)


@explained("it explains the softmax probability instead of the logit")
def probability(world: World) -> World:
    """softmax(logits)_t."""
    return headed(world, _softmax)


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(1)


@explained("it explains the loss (log-softmax) instead of the logit")
def loss(world: World) -> World:
    """log_softmax(logits)_t."""
    return headed(world, _log_softmax)


def _cross_entropy(logits: Tensor) -> Tensor:
    return -logits.log_softmax(1)


@explained("it explains the predicted class instead of the target")
def predicted_class(world: World) -> World:
    """logit of the largest class."""
    return replace(world, target=world.predicted())


@explained("it explains the first image's target for all images")
def first_target(world: World) -> World:
    """logits[:, target[0]]."""
    return replace(world, target=world.target[:1].expand_as(world.target))


@explained("it explains the last image's target for all images")
def last_target(world: World) -> World:
    """logits[:, target[-1]]."""
    return replace(world, target=world.target[-1:].expand_as(world.target))


@explained("it explains class 0 whatever the target")
def first_class(world: World) -> World:
    """logits[:, 0]."""
    return replace(world, target=torch.zeros_like(world.target))


def _sum(logits: Tensor) -> Tensor:
    return logits.sum(1, keepdim=True).expand_as(logits)


@explained("it explains the sum of all logits")
def sum_of_logits(world: World) -> World:
    """logits.sum(1)."""
    return headed(world, _sum)


def _mean(logits: Tensor) -> Tensor:
    return logits.mean(1, keepdim=True).expand_as(logits)


@explained("it explains the mean of all logits")
def mean_of_logits(world: World) -> World:
    """logits.mean(1)."""
    return headed(world, _mean)


@explained("it explains the squared logit")
def squared_logit(world: World) -> World:
    """logit_t ** 2."""
    return headed(world, torch.square)


def _less_mean(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)


@explained("it explains the logit minus the mean of the logits")
def logit_less_mean(world: World) -> World:
    """logit_t - logits.mean(1)."""
    return headed(world, _less_mean)


@explained("it explains the targets of the images in reverse order")
def targets_reversed(world: World) -> World:
    """logits[i, target[n - 1 - i]]."""
    return replace(world, target=world.target.flip(0))


@explained("it explains the cross-entropy itself, which falls where the logit rises")
def cross_entropy(world: World) -> World:
    """CE(logits, t), which is -log softmax(logits)_t."""
    return headed(world, _cross_entropy)


@explained("it explains the predicted class's probability")
def predicted_probability(world: World) -> World:
    """softmax(logits) of the largest class."""
    return headed(predicted_class(world), _softmax)


@explained("it explains the predicted class's cross-entropy")
def predicted_cross_entropy(world: World) -> World:
    """CE(logits, the largest class)."""
    return headed(predicted_class(world), _cross_entropy)


def causes(subject: Subject, *, pairs: bool = True) -> Iterator[tuple[str, Predict]]:
    """Candidate explanations, the simplest first."""
    right = _once(_reference)
    before = [
        *((text, _once(predict)) for text, predict in variants(subject)),
        *((text, _once(partial(_explaining, quantity))) for text, quantity in QUANTITIES),
    ]
    after = [*CHANGES, *factors(subject)]
    yield from before
    for text, change in after:
        yield text, partial(_then, right, change)
    yield "it is a constant factor times the reference", partial(_then, right, own_factor)
    if not pairs:
        return
    for text, predict in before:
        for more, change in after:
            yield f"{text}; and {more}", partial(_then, predict, change)


def _reference(subject: Subject, world: World) -> Tensor:
    return subject.reference(world)


def _explaining(quantity: Quantity, subject: Subject, world: World) -> Tensor:
    return subject.reference(quantity(world))


def _then(predict: Predict, change: Change, subject: Subject, world: World) -> Tensor | None:
    map_ = predict(subject, world)
    return None if map_ is None else change(map_, subject, world)


def _once(predict: Predict) -> Predict:
    """The same, computed once a world and seed: pairs of causes ask for it again and again."""
    # The world is kept, so that its id stays its own.
    known: dict[tuple[int, int], tuple[World, Tensor | None]] = {}

    def remembered(subject: Subject, world: World) -> Tensor | None:
        key = id(world), subject.seed
        if key not in known:
            known[key] = world, possible(predict, subject, world)
        return known[key][1]

    return remembered


def possible(predict: Predict, subject: Subject, world: World) -> Tensor | None:
    """What a cause predicts, None where it makes no sense in this world."""
    try:
        return predict(subject, world)
    except (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError):
        return None
