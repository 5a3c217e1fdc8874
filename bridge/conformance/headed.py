"""The same model with something done to its logits: another quantity is explained, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from bridge.conformance.worlds import World
from bridge.core.model import ModelAdapter, logits_of, wrap


class Headed(nn.Module):
    """A network with something done to its logits."""

    def __init__(self, inner: nn.Module, head: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.head = inner, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(logits_of(self.inner(x)))


class Normalised(nn.Module):
    """A network that is given pixels and normalises them itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, inner: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.inner((x - self.mean) / self.std))


def headed(world: World, head: Callable[[Tensor], Tensor], target: Tensor | None = None) -> World:
    """The same world with `head(logits)` in place of the logits, and other classes where given."""
    model = world.model
    mean, std = (None if v is None else v.flatten() for v in (model.mean, model.std))
    network = Headed(model.module, head)
    network.training = model.module.training
    changed = wrap(network, mean=mean, std=std, layer=_inner(model), bounds=model.bounds)
    changed.reshape = model.reshape
    return replace(world, model=changed, target=world.target if target is None else target)


def normalised_inside(world: World) -> World | None:
    """The same world with the normalisation in the network; None where there is none."""
    model = world.model
    if model.mean is None or model.std is None:
        return None
    network = Normalised(model.module, model.mean, model.std)
    network.training = model.module.training
    return replace(world, model=wrap(network, layer=_inner(model), bounds=model.bounds))


class Fed(nn.Module):
    """A network that is given pixels, and sees other ones in their place."""

    def __init__(self, inner: nn.Module, swapped: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.swapped = inner, swapped

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.inner(self.swapped(x)))


def fed(world: World, swapped: Callable[[Tensor], Tensor]) -> World:
    """The same world, whose model is asked about `swapped(x)` wherever it is asked about x."""
    model = world.model
    inside = normalised_inside(world)
    network = Fed(model.module if inside is None else inside.model.module, swapped)
    network.training = model.module.training
    changed = wrap(network, bounds=model.bounds)
    changed.reshape = model.reshape
    return replace(world, model=changed)


def _inner(model: ModelAdapter) -> str | None:
    return None if model.layer is None else f"inner.{model.layer}"


def classes(world: World) -> int:
    """How many classes the model has: a given one may have more than ours."""
    with torch.no_grad():
        return world.model.facts(world.x).logits.shape[1]
