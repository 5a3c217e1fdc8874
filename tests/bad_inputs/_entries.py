"""The ways into bridge, on a tiny network: what takes images and labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.types import Run
from bridge.fused import run_many
from bridge.fused.minimal import minimal_epsilon
from bridge.training import Probe, class_image
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2]
EIGHT = [0, 1, 2, 3, 0, 1, 2, 3]


def network(classes: int = 4) -> nn.Module:
    """A fresh small network in evaluation mode: 3 channels, at least 4 x 4 pixels."""
    return seeded(Plain, 3, classes)


def wrapped(**options: Any) -> ModelAdapter:
    """The same, wrapped."""
    return bridge.wrap(network(), **options)


def explain(x: Any, labels: Any = LABELS, model: Any = None, **options: Any) -> Run:
    """One attribution by `run`."""
    return bridge.run("saliency", wrapped() if model is None else model, x, labels, **options)


def attack(x: Any, labels: Any = LABELS, model: Any = None, **options: Any) -> Run:
    """One attack by `run`."""
    return bridge.run("fgsm", wrapped() if model is None else model, x, labels, **options)


def comparison(
    x: Any = None, labels: Any = LABELS, model: Any = None, **options: Any
) -> bridge.Comparison:
    """The smallest `compare`: an attribution, by everybody, once."""
    x = images() if x is None else x
    given = {"methods": ["saliency"], "repeats": 1, "progress": False, **options}
    return bridge.compare(wrapped() if model is None else model, x, labels, **given)


def many(x: Any, target: Any = LABELS, **options: Any) -> Any:
    """Two methods in one plan."""
    return run_many(wrapped(), x, target, {"saliency": {}, "fgsm": {}}, **options)


def smallest(x: Any, labels: Any = LABELS, **options: Any) -> Any:
    """The smallest epsilon that fools."""
    return minimal_epsilon(wrapped(), x, labels, **{"steps": 2, **options})


def probe(x: Any = None, labels: Any = LABELS, **options: Any) -> Any:
    """A probe that has looked once."""
    looking = Probe(network(), images() if x is None else x, labels, **{"every": 1, **options})
    looking.step()
    return looking


def checked(x: Any, labels: Any = LABELS) -> Any:
    """A check on the user's own model and batch."""
    return bridge.check(plain_saliency, "saliency", model=wrapped(), batch=(x, labels))


def timed(x: Any, labels: Any = LABELS, **options: Any) -> Any:
    """The smallest benchmark."""

    def batch(name: str, n: int) -> tuple[Any, Any]:
        return x, labels

    given = {"methods": ["saliency"], "batches": [3], "rounds": 1, "progress": False, **options}
    return bridge.benchmark({"tiny": wrapped()}, batch, **given)


def drawn(start: Any = None, target: Any = LABELS, **options: Any) -> Any:
    """Class images, from images or from noise."""
    begin = {"shape": (3, 8, 8)} if start is None else {"start": start}
    return class_image(wrapped(), target, **{**begin, "steps": 2, **options})


def plain_saliency(model: Any, x: Tensor, target: Tensor) -> Tensor:
    """A right implementation of saliency."""
    x = x.clone().requires_grad_()
    chosen = model(x).gather(1, target[:, None]).sum()
    return torch.autograd.grad(chosen, x)[0].abs()


def plain_fgsm(model: Any, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    """A right implementation of FGSM."""
    x = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(x), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return (x + epsilon * gradient.sign()).clamp(0, 1).detach()


ENTRIES = {
    "compare": comparison,
    "run_many": many,
    "minimal_epsilon": smallest,
    "Probe": probe,
    "check": checked,
    "benchmark": timed,
}
