"""Contract and traces: what every implementation must give back, and what it must leave alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import World
from bridge.core.state import seeded


def right_kind(subject: Subject, world: World) -> Mapping[str, Any]:
    """A floating point tensor of the reference's shape, and its dtype and device."""
    for place in (world, world.single()):
        expected, output = subject.reference(place), subject(place)
        if output.shape != expected.shape:
            raise CheckFailed(
                f"the output has shape {tuple(output.shape)}, expected {tuple(expected.shape)} for "
                f"images of shape {tuple(place.x.shape)}"
            )
        if not output.is_floating_point():
            raise CheckFailed(f"the output is {output.dtype}, expected floating point")
        strict = subject.method.kind == "attack" or place.x.dtype == torch.float32
        if output.dtype != place.x.dtype and strict:
            raise CheckFailed(f"the output is {output.dtype} for {place.x.dtype} images")
        if output.device != place.x.device:
            raise CheckFailed(f"the output is on {output.device}, the images on {place.x.device}")
    return {}


def finite(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    """No NaN, no infinity, and no graph that would keep the activations alive."""
    for place in places:
        output = subject(place)
        bad = int((~output.isfinite()).sum())
        if bad:
            raise CheckFailed(f"{bad} values are NaN or infinite with {place.name}")
        if output.requires_grad:
            raise CheckFailed("the output still carries a graph: return output.detach()")
    return {}


def repeatable(subject: Subject, world: World) -> Mapping[str, Any]:
    """Two calls under one seed agree to the bit."""
    one, two = (subject(world, 5, **subject.own_draws(world)).detach() for _ in range(2))
    if not torch.equal(one, two):
        raise CheckFailed(
            "two calls with the same seed differ: random numbers must come from torch's global "
            "generator"
        )
    return {}


def differs_between_seeds(subject: Subject, world: World) -> Mapping[str, Any]:
    """A random method does draw."""
    one, two = (subject(world, seed, **subject.own_draws(world)).detach() for seed in (1, 2))
    if torch.equal(one, two):
        raise CheckFailed(
            "two seeds give the same output: nothing random is drawn, or it is drawn from a fixed "
            "seed"
        )
    return {}


def images_untouched(subject: Subject, world: World) -> Mapping[str, Any]:
    """The caller's images and classes, called without any protection."""
    x, target = world.x.clone(), world.target.clone()
    subject(replace(world, x=x, target=target), guard=False)
    _clear_gradients(world)
    if not torch.equal(x, world.x) or not torch.equal(target, world.target):
        raise CheckFailed("the caller's images or classes were changed in place: work on a clone")
    if x.requires_grad or x.grad is not None:
        raise CheckFailed(
            "x.requires_grad or x.grad was left on the caller's images: work on x.detach().clone()"
        )
    return {}


def _clear_gradients(world: World) -> None:
    for p in world.model.parameters():
        p.grad = None


def _snapshot(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {"gradients": [p.grad is None for p in model.parameters()]}
    state["weights"] = [p.detach().clone() for p in model.parameters()]
    state["buffers"] = [b.clone() for b in model.buffers()]
    state["requires_grad flags"] = [p.requires_grad for p in model.parameters()]
    state["training modes"] = [m.training for m in model.modules()]
    state["in-place flags"] = [getattr(m, "inplace", None) for m in model.modules()]
    state["hooks"] = [
        sum(len(v) for k, v in m.__dict__.items() if "hooks" in k and v) for m in model.modules()
    ]
    state["modules"] = [id(m) for m in model.modules()]
    return state


def _alike(before: list[Any], after: list[Any]) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b
        for a, b in zip(before, after, strict=True)
    )


def model_untouched(subject: Subject, world: World) -> Mapping[str, Any]:
    """A copy, called without any protection: what is left here is left on a user's model."""
    for training in (False, True):
        copy = world.model.astype(torch.float64)
        copy.module.train(training)
        copy.training = training
        before = _snapshot(copy)
        subject(
            replace(world, model=copy, x=world.x.clone(), target=world.target.clone()),
            guard=False,
        )
        after = _snapshot(copy)
        for what in before:
            if training and what == "buffers":
                continue  # batch norm in training mode updates its statistics whoever calls it
            if _alike(before[what], after[what]):
                continue
            mode = "training" if training else "evaluation"
            hint = ": take torch.autograd.grad with respect to the images, not loss.backward()"
            raise CheckFailed(
                f"the model's {what} were changed (model in {mode} mode)"
                + (hint if what == "gradients" else "")
            )
    return {}


def _random_state() -> tuple[Any, ...]:
    numbers: Any = np.random.get_state()
    return tuple(torch.get_rng_state().tolist()), tuple(numbers[1].tolist()), random.getstate()


def random_state_untouched(subject: Subject, world: World, drawn: bool) -> Mapping[str, Any]:
    """A deterministic method draws nothing and sets no seed."""
    if drawn:
        raise Skipped("a random method draws from the global generators")
    given = {k: v for k, v in subject.settings(world).items() if subject.accepts(k)}
    call = partial(subject.function, world.model, world.x.clone(), world.target.clone(), **given)
    with seeded(987_654_321):  # a state that no seed of the user's gives
        before = _random_state()
        subject.guarded(call)
        after = _random_state()
    _clear_gradients(world)
    if before != after:
        raise CheckFailed(
            "random numbers were drawn or a seed was set, though "
            f"{subject.method.name} is deterministic"
        )
    return {}


def follows_images(subject: Subject, world: World) -> Mapping[str, Any]:
    """Other images in the same tensor get their own answer."""
    return _follows(subject, world, "images", _invert)


def follows_weights(subject: Subject, world: World) -> Mapping[str, Any]:
    """The same model with other weights gets its own answer."""
    return _follows(subject, world, "weights", _change_weights)


def _invert(place: World) -> None:
    place.x.copy_(sum(place.model.bounds) - place.x)


def _change_weights(place: World) -> None:
    last = [p for p in place.model.module.parameters() if p.ndim > 1][-1]
    last.copy_(last.flip(0) * 1.7)


def _follows(
    subject: Subject, world: World, what: str, change: Callable[[World], None]
) -> Mapping[str, Any]:
    """Where the reference's answer changes, the function's does."""
    place = replace(
        world,
        model=world.model.astype(torch.float64),
        x=world.x.clone(),
        target=world.target.clone(),
    )
    before = subject(place, guard=False).detach().clone()
    with torch.no_grad():
        change(place)
    if not torch.equal(before, subject(place, guard=False).detach()):
        return {}
    if torch.equal(subject.reference(world), subject.reference(place)):
        return {}
    raise CheckFailed(
        f"the answer stays the same after the {what} have changed: something is cached between "
        "calls"
    )
