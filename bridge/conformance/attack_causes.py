"""The recognisable ways in which an attack goes wrong: its variants, deviations from its recipe."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from bridge.conformance.loop_deviations import CLIPS, LOOPS
from bridge.conformance.recipe import Deviation, follow, standard
from bridge.conformance.step_deviations import DIRECTIONS, LOSSES, SIZES
from bridge.conformance.subject import Predict, Subject, variants
from bridge.conformance.worlds import World


def causes(subject: Subject, *, pairs: bool = True) -> Iterator[tuple[str, Predict]]:
    """Candidate explanations, the simplest first: one deviation, then two."""
    yield from variants(subject)
    yield "it returns the clean images", _clean
    if subject.method.tags.recipe is None:
        yield from _generic(subject)
        if pairs:
            for (of, world), (how, predict) in itertools.product(LABELS, variants(subject)):
                yield f"{of}; and {how}", partial(_elsewhere, world, predict)
        return
    single = "steps" not in subject.method.defaults
    groups = [LOSSES, CLIPS, SIZES, *([] if single else [LOOPS]), DIRECTIONS]
    for group in groups:
        for one in group:
            yield one.sentence, _follow(one)
    yield from _generic(subject)
    if not pairs:
        return
    # Two things wrong at once. All pairs would take a minute for a loop, so there only likely ones.
    likely = [(LOSSES, CLIPS), (LOSSES, SIZES), (SIZES, CLIPS), (LOOPS, CLIPS)]
    for first, second in itertools.combinations(groups, 2) if single else likely:
        for one, two in itertools.product(first, second):
            yield f"{one.sentence}; and {two.sentence}", _follow(one, two)


def _follow(*deviations: Deviation) -> Predict:
    """The method's recipe with these deviations."""

    def predict(subject: Subject, world: World) -> Tensor | None:
        recipe = standard(subject, world)
        for deviation in deviations:
            changed = deviation.change(recipe, world)
            if changed is None:
                return None
            recipe = changed
        return follow(recipe, world)

    return predict


def _clean(subject: Subject, world: World) -> Tensor:
    return world.x


# What can be wrong with any attack: its parameters, its labels, what becomes of its images.


def _generic(subject: Subject) -> Iterator[tuple[str, Predict]]:
    yield "the labels of the images are in reverse order", _labels_reversed
    for name, default in subject.method.defaults.items():
        if isinstance(default, bool):
            yield f"`{name}` is the other way round", _with(name, lambda value: not value)
        elif isinstance(default, int | float):
            yield f"`{name}` is halved", _with(name, lambda value: type(value)(value * 0.5))
            yield f"`{name}` is doubled", _with(name, lambda value: type(value)(value * 2))
            if isinstance(default, int):
                yield f"`{name}` is one less than stated", _with(name, lambda value: value - 1)
                yield f"`{name}` is one more than stated", _with(name, lambda value: value + 1)
            yield f"`{name}` is always its default", _with(name, _always(default))
    yield "it returns the perturbation instead of the images", _perturbation
    yield "it keeps half of the perturbation", _scaled(0.5)
    yield "it doubles the perturbation", _scaled(2.0)
    yield "it doubles the perturbation and clips", _doubled_and_clipped
    yield "the perturbation has the opposite sign", _scaled(-1.0)
    yield "it rounds the images to 8 bits", _rounded
    yield "it attacks the predicted class instead of the label", _predicted_class


def _with(name: str, change: Callable[[Any], Any]) -> Predict:
    """The reference with another value of a parameter."""

    def predict(subject: Subject, world: World) -> Tensor:
        return subject.reference(world, **{name: change(subject.settings(world)[name])})

    return predict


def _always(default: Any) -> Callable[[Any], Any]:
    return lambda value: default


def _of_prediction(world: World) -> World:
    return replace(world, target=world.predicted())


def _in_reverse(world: World) -> World:
    return replace(world, target=world.target.flip(0))


def _elsewhere(
    change: Callable[[World], World], predict: Predict, subject: Subject, world: World
) -> Tensor | None:
    """A deviation, seen by an attack on other classes."""
    return predict(subject, change(world))


# Whose classes it may attack instead, beside another deviation.
LABELS = (
    ("it attacks the predicted class instead of the label", _of_prediction),
    ("the labels of the images are in reverse order", _in_reverse),
)


def _labels_reversed(subject: Subject, world: World) -> Tensor:
    return _for_labels(subject, world, world.target.flip(0))


def _predicted_class(subject: Subject, world: World) -> Tensor:
    return _for_labels(subject, world, world.predicted())


def _for_labels(subject: Subject, world: World, labels: Tensor) -> Tensor:
    return subject.reference(replace(world, target=labels))


def _perturbation(subject: Subject, world: World) -> Tensor:
    return subject.reference(world) - world.x


def _scaled(factor: float) -> Predict:
    """The images with the perturbation times a number."""
    return lambda subject, world: world.x + factor * _perturbation(subject, world)


def _doubled_and_clipped(subject: Subject, world: World) -> Tensor:
    return (world.x + 2 * _perturbation(subject, world)).clamp(*world.model.bounds)


def _rounded(subject: Subject, world: World) -> Tensor:
    return (subject.reference(world) * 255).round() / 255
