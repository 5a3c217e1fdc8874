"""Metamorphic relations: what must not change the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bridge.conformance.headed import classes, headed, normalised_inside
from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import World
from bridge.metrics import agreement

Figures = Mapping[str, Any]
Relation = Callable[[Subject, World], Figures]


def metamorphic(subject: Subject, world: World) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """The relations that methods have, in this world; one that the reference lacks is skipped."""
    for sentence, relation in RELATIONS.items():
        yield f"metamorphic: {sentence}", partial(_held, relation, subject, world)


def _held(relation: Relation, subject: Subject, world: World) -> Figures:
    try:
        return relation(subject, world)
    except CheckFailed:
        try:
            relation(replace(subject, function=subject.method.reference), world)
        except CheckFailed:
            raise Skipped("it is not so for the method itself") from None
        raise


def alone(subject: Subject, world: World) -> Figures:
    """Each image in a batch of its own."""
    if len(world.x) == 1:
        raise Skipped("there is one image")
    images = torch.arange(len(world.x)).split(1)
    single = torch.cat([_part(subject, world, image) for image in images])
    text = "an image alone and in a batch should get the same answer"
    return _compare(subject, _whole(subject, world), single, text)


def permuted(subject: Subject, world: World) -> Figures:
    """The batch in reverse order."""
    if len(world.x) == 1:
        raise Skipped("there is one image")
    order = torch.arange(len(world.x)).flip(0)
    text = "the same images in another order should get the same answers"
    expected = _whole(subject, world)[order]
    return _compare(subject, expected, _part(subject, world, order), text)


def _reversed(logits: Tensor) -> Tensor:
    return logits.flip(1)


def renamed(subject: Subject, world: World) -> Figures:
    """The classes in reverse order."""
    other = headed(world, _reversed, classes(world) - 1 - world.target)
    text = "renaming the classes should change nothing"
    return _compare(subject, _whole(subject, world), _like(subject, world, other), text)


def moved_normalisation(subject: Subject, world: World) -> Figures:
    """(x - mean) / std inside the network instead of in the adapter."""
    inside = normalised_inside(world)
    if inside is None:
        raise Skipped("the given model normalises nothing")
    text = "normalising inside the model should change nothing"
    return _compare(subject, _whole(subject, world), _like(subject, world, inside), text)


RELATIONS: dict[str, Relation] = {
    "an image's answer does not depend on its batch": alone,
    "the order of the images does not matter": permuted,
    "the order of the classes does not matter": renamed,
    "normalisation may be in the adapter or in the model": moved_normalisation,
}


def _own(subject: Subject, world: World) -> dict[str, Any]:
    """Starts and noise, which go with their image."""
    return {
        name: value
        for name, value in subject.settings(world).items()
        if isinstance(value, Tensor) and value.shape[:1] == world.x.shape[:1]
    }


def _part(subject: Subject, world: World, index: Tensor) -> Tensor:
    """The answer for some of the images."""
    own: dict[str, Any] = {name: value[index] for name, value in _own(subject, world).items()}
    return subject(replace(world, x=world.x[index], target=world.target[index]), **own).detach()


def _whole(subject: Subject, world: World) -> Tensor:
    return _part(subject, world, torch.arange(len(world.x)))


def _like(subject: Subject, world: World, other: World) -> Tensor:
    """The answer in another world from the same starts."""
    return subject(other, **_own(subject, world)).detach()


def _compare(subject: Subject, expected: Tensor, found: Tensor, text: str) -> Figures:
    if found.shape != expected.shape:
        raise CheckFailed(f"{text}: shapes {tuple(expected.shape)} and {tuple(found.shape)}")
    gap = float(agreement.gaps(found, expected, subject.scale(expected)).max())
    # The same float64 sums in another order, and what a library may round to float32.
    if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
        raise CheckFailed(f"{text}: they differ by up to {gap:.2e}")
    return {"gap": gap}
