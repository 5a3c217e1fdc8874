"""Functions of the user's: what they write into and leave behind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter
from tests.bad_inputs._entries import LABELS, comparison, plain_fgsm, wrapped
from tests.bad_inputs._expectations import (
    Case,
    Right,
    Warns,
    missing,
)
from tests.bad_inputs.functions import Attack
from tests.networks import images


def doing(something: Callable[[ModelAdapter, Tensor], Any]) -> Attack:
    """Does something to the model, and then attacks as it should."""

    def mine(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Any:
        done = plain_fgsm(model, x, labels, epsilon=epsilon)
        something(model, x)
        return done

    return mine


def add_to_weights(model: ModelAdapter, x: Tensor) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(1)


def add_to_data(model: ModelAdapter, x: Tensor) -> None:
    next(model.parameters()).data.add_(1)


def replace_data(model: ModelAdapter, x: Tensor) -> None:
    first = next(model.parameters())
    first.data = torch.zeros_like(first)


def shrink_data(model: ModelAdapter, x: Tensor) -> None:
    first = next(model.parameters())
    first.data = first.data[:1]


def spoil_weights(model: ModelAdapter, x: Tensor) -> None:
    next(model.parameters()).data.fill_(torch.nan)


def add_to_buffers(model: ModelAdapter, x: Tensor) -> None:
    next(b for b in model.module.buffers() if b.is_floating_point()).add_(1)


def step_of_training(model: ModelAdapter, x: Tensor) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).sum().backward()
    optimiser.step()


def to_half(model: ModelAdapter, x: Tensor) -> None:
    model.module.half()


def to_meta(model: ModelAdapter, x: Tensor) -> None:
    model.module.to("meta")


def train(model: ModelAdapter, x: Tensor) -> None:
    model.module.train()


def change_normalisation(model: ModelAdapter, x: Tensor) -> None:
    model.register_buffer("mean", torch.full((1, 1, 1, 1), 0.5))
    model.register_buffer("std", torch.full((1, 1, 1, 1), 0.5))


def change_bounds(model: ModelAdapter, x: Tensor) -> None:
    model.bounds = (-9.0, 9.0)


def replace_module(model: ModelAdapter, x: Tensor) -> None:
    model.module[0] = nn.Conv2d(3, 6, 3, padding=1)


def delete_module(model: ModelAdapter, x: Tensor) -> None:
    del model.module[9]


def replace_forward(model: ModelAdapter, x: Tensor) -> None:
    model.module.forward = lambda given: given.mean((2, 3))


def leave_hook(model: ModelAdapter, x: Tensor) -> None:
    model.module[0].register_forward_hook(lambda m, i, o: o * 0)


def freeze_weights(model: ModelAdapter, x: Tensor) -> None:
    model.module.requires_grad_(False)


def leave_gradients(model: ModelAdapter, x: Tensor) -> None:
    model(x).sum().backward()


def add_parameter(model: ModelAdapter, x: Tensor) -> None:
    model.module.register_parameter("mine", nn.Parameter(torch.ones(1)))


# Traces: put back, whoever left them; those in values are told with the function's name.
TRACES: list[tuple[str, Callable[[ModelAdapter, Tensor], None], tuple[str, ...]]] = [
    ("adds to the weights", add_to_weights, ("mine", "weight")),
    ("adds to the weights' data", add_to_data, ("mine", "weight")),
    ("replaces the weights' data", replace_data, ("mine", "weight")),
    ("shrinks the weights", shrink_data, ("mine", "weight")),
    ("fills the weights with NaN", spoil_weights, ("mine", "weight")),
    ("adds to the buffers", add_to_buffers, ("mine", "buffer|running_mean")),
    ("trains the model", step_of_training, ("mine", "weight")),
    ("casts the model", to_half, ("mine", "weight|dtype")),
    ("moves the model", to_meta, ("mine", "weight|device|meta")),
    ("sets training mode", train, ()),
    ("changes the normalisation", change_normalisation, ()),
    ("changes the bounds", change_bounds, ()),
    ("replaces a layer", replace_module, ()),
    ("deletes a layer", delete_module, ()),
    ("replaces forward", replace_forward, ()),
    ("leaves a hook", leave_hook, ()),
    ("freezes the weights", freeze_weights, ()),
    ("leaves gradients", leave_gradients, ()),
    ("adds a parameter", add_parameter, ()),
]


@dataclass
class Traces:
    """A model before and after."""

    model: ModelAdapter
    before: dict[str, Any]
    found: Any


def state(model: ModelAdapter) -> dict[str, Any]:
    """Everything of a model that a run could change."""
    return {
        "weights": {name: value.clone() for name, value in model.module.state_dict().items()},
        "flags": [p.requires_grad for p in model.module.parameters()],
        "gradients": [p.grad is None for p in model.module.parameters()],
        "modes": [m.training for m in model.modules()],
        "modules": [id(m) for m in model.modules()],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "bounds": model.bounds,
        "mean": model.mean,
        "forward": "forward" in model.module.__dict__,
    }


def put_back(traces: Traces) -> None:
    """The model is what it was."""
    after = state(traces.model)
    for what, value in traces.before.items():
        if what != "weights":
            assert value == after[what], f"{what} was {value}, is {after[what]}"
    weights = traces.before["weights"]
    assert list(weights) == list(after["weights"])
    for name, value in weights.items():
        now = after["weights"][name]
        assert (value.dtype, value.device) == (now.dtype, now.device), name
        assert torch.equal(value, now), name


def named(words: tuple[str, ...]) -> Callable[[Traces], None]:
    """The model is what it was, and the comparison names who changed it; all else is right."""

    def told(traces: Traces) -> None:
        put_back(traces)
        found = traces.found
        rows = [f"{r['implementation']} {r['message']}" for r in found.failures.to_dict("records")]
        if words:
            assert any(not missing(words, row) for row in rows), rows
        others = found.agreement.set_index("implementation")["verdict"].drop(
            "mine", errors="ignore"
        )
        assert set(others) <= {"equal", "rounding"}, others

    return told


def run_and_look(function: Attack, place: Path) -> Traces:
    model = wrapped()
    before = state(model)
    found = bridge.run("fgsm", model, images(), LABELS, implementation=function)
    return Traces(model, before, found)


def compare_and_look(function: Attack, place: Path) -> Traces:
    model = wrapped()
    before = state(model)
    found = comparison(
        model=model,
        methods=["fgsm", "saliency"],
        functions={"fgsm": function},
        implementations=["reference", "foolbox", "captum"],
        epsilons=[0.1],
    )
    return Traces(model, before, found)


def break_x(model: ModelAdapter, x: Tensor) -> None:
    x.zero_()


def seed_all(model: ModelAdapter, x: Tensor) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def no_gradients_any_more(model: ModelAdapter, x: Tensor) -> None:
    torch.set_grad_enabled(False)


def default_of_float64(model: ModelAdapter, x: Tensor) -> None:
    torch.set_default_dtype(torch.float64)


def world_after(function: Attack, place: Path) -> tuple[Any, Any]:
    """The images, the random states and torch's settings, before and after."""
    x = images()

    def world() -> tuple[Any, ...]:
        numbers: Any = np.random.get_state()[1]
        settings = torch.is_grad_enabled(), torch.get_default_dtype()
        states = torch.get_rng_state().tolist(), list(numbers), random.getstate()
        return (x.tolist(), settings, states)

    before = world()
    try:
        bridge.run("fgsm", wrapped(), x, LABELS, implementation=function)
        after = world()
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
    return before, after


def same_world(pair: tuple[Any, Any]) -> None:
    """Nothing of it changed."""
    for one, two, what in zip(*pair, ("images", "settings", "random states"), strict=True):
        assert one == two, what


WORLD: list[tuple[str, Callable[[ModelAdapter, Tensor], None]]] = [
    ("writes into the images", break_x),
    ("seeds the generators", seed_all),
    ("turns gradients off", no_gradients_any_more),
    ("sets the default dtype", default_of_float64),
]


CASES = [
    *(
        Case(
            f"run: {name}",
            partial(run_and_look, doing(how)),
            Warns(*words, then=put_back) if words else Right(put_back),
        )
        for name, how, words in TRACES
    ),
    *(
        Case(f"compare: {name}", partial(compare_and_look, doing(how)), Right(named(words)))
        for name, how, words in TRACES
    ),
    *(
        Case(f"run: {name}", partial(world_after, doing(how)), Right(same_world))
        for name, how in WORLD
    ),
]  # fmt: skip
