"""Contract and traces: what every implementation must give back, and what it must leave alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import World
from bridge.state import seeded


def right_kind(subject: Subject, world: World) -> Mapping[str, Any]:
    for place in (world, world.single()):
        expected, output = subject.reference(place), subject(place)
        if output.shape != expected.shape:
            raise CheckFailed(
                f"the output has shape {tuple(output.shape)}, expected {tuple(expected.shape)} for images of shape "
                f"{tuple(place.x.shape)}"
            )
        if not output.is_floating_point():
            raise CheckFailed(f"the output is {output.dtype}, expected floating point")
        if output.dtype != place.x.dtype and (subject.method.kind == "attack" or place.x.dtype == torch.float32):
            raise CheckFailed(f"the output is {output.dtype} for {place.x.dtype} images")
        if output.device != place.x.device:
            raise CheckFailed(f"the output is on {output.device}, the images on {place.x.device}")
    return {}


def finite(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    for place in places:
        output = subject(place)
        if not bool(output.isfinite().all()):
            raise CheckFailed(f"{int((~output.isfinite()).sum())} values are NaN or infinite with {place.name}")
        if output.requires_grad:
            raise CheckFailed("the output still carries a graph: return output.detach()")
    return {}


def repeatable(subject: Subject, world: World) -> Mapping[str, Any]:
    settings = subject.own_draws()
    if not torch.equal(subject(world, 5, **settings).detach(), subject(world, 5, **settings).detach()):
        raise CheckFailed("two calls with the same seed differ: random numbers must come from torch's global generator")
    return {}


def differs_between_seeds(subject: Subject, world: World) -> Mapping[str, Any]:
    settings = subject.own_draws()
    if torch.equal(subject(world, 1, **settings).detach(), subject(world, 2, **settings).detach()):
        raise CheckFailed("two seeds give the same output: nothing random is drawn, or it is drawn from a fixed seed")
    return {}


def images_untouched(subject: Subject, world: World) -> Mapping[str, Any]:
    x, target = world.x.clone(), world.target.clone()
    place = World(world.name, world.model, x, target, world.params)
    subject(place, guard=False)
    _clear_gradients(world)
    if not torch.equal(x, world.x) or not torch.equal(target, world.target):
        raise CheckFailed("the caller's images or classes were changed in place: work on a clone")
    if x.requires_grad or x.grad is not None:
        raise CheckFailed("x.requires_grad or x.grad was left on the caller's images: work on x.detach().clone()")
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
    state["hooks"] = [sum(len(v) for k, v in m.__dict__.items() if "hooks" in k and v) for m in model.modules()]
    state["modules"] = [id(m) for m in model.modules()]
    return state


def model_untouched(subject: Subject, world: World) -> Mapping[str, Any]:
    # A copy, called without any protection: what is left behind here is left behind on a user's model.
    for training in (False, True):
        copy = world.model.astype(torch.float64)
        copy.module.train(training)
        copy.training = training
        before = _snapshot(copy)
        subject(World(world.name, copy, world.x.clone(), world.target.clone(), world.params), guard=False)
        after = _snapshot(copy)
        for what in before:
            if training and what == "buffers":
                continue  # batch norm in training mode updates its statistics whoever calls it
            if not all(
                torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(before[what], after[what], strict=True)
            ):
                mode = "training" if training else "evaluation"
                hint = (
                    ": take torch.autograd.grad with respect to the images, not loss.backward()" if what == "gradients" else ""
                )
                raise CheckFailed(f"the model's {what} were changed (model in {mode} mode){hint}")
    return {}


def random_state_untouched(subject: Subject, world: World) -> Mapping[str, Any]:
    if subject.method.draw is not None or subject.method.name == "smooth_grad":
        raise Skipped("a random method draws from the global generators")
    given = {k: v for k, v in subject.settings(world).items() if subject.accepts(k)}
    with seeded(987_654_321):  # a state that no seed of the user's gives
        before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # type: ignore[index]
        subject.guarded(lambda: subject.function(world.model, world.x.clone(), world.target.clone(), **given))
        after = (torch.get_rng_state(), np.random.get_state()[1], random.getstate())  # type: ignore[index]
    _clear_gradients(world)
    if not torch.equal(before[0], after[0]) or not bool((before[1] == after[1]).all()) or before[2] != after[2]:
        raise CheckFailed(f"random numbers were drawn or a seed was set, though {subject.method.name} is deterministic")
    return {}


def not_cached(subject: Subject, world: World, what: str) -> Mapping[str, Any]:
    model, x = world.model.astype(torch.float64), world.x.clone()
    place = World(world.name, model, x, world.target.clone(), world.params)
    outputs = []
    for _ in range(2):
        outputs.append(subject(place, guard=False).detach().clone())
        with torch.no_grad():
            if what == "images":
                x.copy_(sum(model.bounds) - x)
            else:
                last = [p for p in model.module.parameters() if p.ndim > 1][-1]
                last.copy_(last.flip(0) * 1.7)
    if what == "weights" and subject.method.name == "uniform_noise_linf":
        return {}
    expected = subject.reference(
        World(
            world.name,
            world.model,
            sum(world.model.bounds) - world.x if what == "images" else world.x,
            world.target,
            world.params,
        )
    )
    if torch.equal(outputs[0], outputs[1]) and not torch.equal(expected, outputs[1]):
        raise CheckFailed(f"the answer stays the same after the {what} have changed: something is cached between calls")
    return {}
