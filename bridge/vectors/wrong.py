"""The wrong answers of a case, from the checker's causes: what a judge without a model knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from bridge.conformance import attack_causes, attribution_causes
from bridge.conformance.recipe import follow, standard
from bridge.conformance.subject import SENSELESS, Subject
from bridge.conformance.worlds import World
from bridge.core.method import Method
from bridge.vectors.modules import WRONG_LAYERS, adapter, weights

Try = Callable[[], Tensor | None]
BOTH = "; and "  # of two causes: too many to keep


def wrong_answers(method: Method, world: World, network: str) -> Iterator[tuple[str, Tensor]]:
    """Sentences and outputs, the simplest first; not those that make no sense here."""
    for sentence, attempt in _tries(method, world, network):
        try:
            found = attempt()
        except SENSELESS:
            continue
        if found is not None and bool(found.isfinite().all()):
            yield sentence, found.detach()


def subject_of(method: Method) -> Subject:
    """The method as the checker sees a function: here its own reference."""
    return Subject(function=method.reference, method=method, params={}, limit=60.0)


def _tries(method: Method, world: World, network: str) -> Iterator[tuple[str, Try]]:
    subject = subject_of(method)
    for sentence, op, make in WRONG_LAYERS:
        if op != "relu" or "relu" not in method.needs:  # what is no nn.ReLU cannot be guided
            model = adapter(network, weights(network), {op: make})
            yield sentence, partial(subject.reference, replace(world, model=model))
    if world.model.mean is not None:
        bare = adapter(network, weights(network), normalise=False)
        bare_world = replace(world, model=bare)
        yield "it does not normalise the pixels", partial(subject.reference, bare_world)
    for twin in method.twins.values():
        if twin.instead is not None and not twin.everywhere:
            yield twin.differs.partition(":")[0], partial(_instead, subject, twin.instead, world)
    attack = method.kind == "attack"
    causes = attack_causes.causes if attack else attribution_causes.causes
    for sentence, predict in causes(subject):
        if BOTH not in sentence:
            yield sentence, partial(predict, subject, world)
    if method.tags.recipe is not None and "start" in method.defaults:
        yield "it does not clip the start", partial(_unclipped_start, subject, world)


def _instead(subject: Subject, function: Any, world: World) -> Tensor:
    return function(world.model, world.x, world.target, **subject.settings(world))


def _unclipped_start(subject: Subject, world: World) -> Tensor | None:
    settings = subject.settings(world)
    if settings["start"] is None or settings["start"].shape != world.x.shape:
        return None
    return follow(replace(standard(subject, world), start=settings["start"]), world)
