"""What somebody's code asks of the model: iterates, points of a path, covered images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bridge.calling import Called
from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import World

# Never the seed of the images: a random start would be a function of their pixels.
SEED = 4711


@dataclass(frozen=True)
class Watched:
    """One call: its answer, and the images that the model was asked about, in order.

    `asked` with a gradient and `looked` without, each (n, c, h, w) for the images of the world,
    float64; both are empty where questions fit no images.
    """

    world: World
    output: Tensor
    asked: tuple[Tensor, ...]
    looked: tuple[Tensor, ...]


def watch(subject: Subject, world: World, *, seed: int = SEED, **changes: Any) -> Watched | None:
    """The call, with other settings where told so, or None where it fails."""
    place = world.single() if subject.single else world
    place.model.facts(place.x)  # so that our own look at the model is none of its questions
    kept: list[tuple[bool, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            image = inputs[0]
            differentiated = image.requires_grad and torch.is_grad_enabled()
            kept.append((differentiated, image.detach().double().clone()))

    outputs, groups = [], []
    form = subject.function.form if isinstance(subject.function, Called) else None
    parts = [slice(None)] if form is None else form.parts(len(place.x))
    handle = place.model.register_forward_pre_hook(keep)
    try:
        for part in parts:
            kept.clear()
            own = replace(place, x=place.x[part], target=place.target[part])
            outputs.append(subject(own, seed, **changes).detach().double())
            groups.append(list(kept))
    except (CheckFailed, Skipped):
        return None
    finally:
        handle.remove()
    try:
        output = torch.cat(outputs)
    except RuntimeError:
        return None
    asked, looked = (_together(groups, want, world.x) for want in (True, False))
    return Watched(world, output, asked, looked)


def _together(
    groups: Sequence[Sequence[tuple[bool, Tensor]]], differentiated: bool, x: Tensor
) -> tuple[Tensor, ...]:
    """The questions of all calls, one for all images; equal ones in a row are one."""
    size = len(x) // len(groups)
    calls = []
    for group in groups:
        questions: list[Tensor] = []
        for gradient, images in group:
            if gradient is not differentiated or len(images) % size:
                continue
            for question in images.split(size):
                if not questions or not torch.equal(questions[-1], question):
                    questions.append(question)
        calls.append(questions)
    if len({len(questions) for questions in calls}) != 1:
        return ()
    found = [torch.cat(each) for each in zip(*calls, strict=True)]
    return tuple(images for images in found if images.shape == x.shape)
