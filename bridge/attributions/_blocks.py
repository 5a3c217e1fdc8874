"""Blocks of a transformer: what they are given, what they give, and another thing in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.blocks import first_of, with_first, with_tensor
from bridge.core.model import ModelAdapter
from bridge.core.state import hooked


def blocks(model: ModelAdapter, x: Tensor) -> list[nn.Module]:
    """The module around each layer's attention. Raises ValueError where some have none."""
    tokens = model.tokens(x)
    if not tokens.blocks:
        raise ValueError(
            f"the {tokens.layers} layers of attention of {model.name} stand in no chain of modules "
            "that take tokens (n, tokens, channels) and give tokens, each with its residual"
        )
    return [model.module.get_submodule(name) for name in tokens.blocks]


@contextmanager
def given_by(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Inside, a list of what these modules give, in the order that they run.

    Each with a graph that ends where its module begins: what follows gets the same tokens as new
    ones, so that nothing depends on a module but what it gave itself.
    """
    outputs: list[Tensor] = []

    def keep(layer: nn.Module, inputs: Any, output: Any) -> Any:
        outputs.append(first_of(output))
        return with_tensor(output, outputs[-1].detach().requires_grad_())

    with hooked(layers, keep):
        yield outputs


def logits_after(model: ModelAdapter, x: Tensor, layer: nn.Module, tokens: Tensor) -> Tensor:
    """The logits of images x where `layer` gives other tokens, as many images as these are."""

    def put(layer: nn.Module, inputs: Any, output: Any) -> Any:
        return with_tensor(output, tokens)

    with hooked([layer], put):
        return model(x)


def logits_from(model: ModelAdapter, x: Tensor, layer: nn.Module, tokens: Tensor) -> Tensor:
    """The logits of images x where `layer` is given other tokens."""

    def put(layer: nn.Module, args: Any, kwargs: Any) -> Any:
        return with_first(args, kwargs, lambda _: tokens)

    handle = layer.register_forward_pre_hook(put, with_kwargs=True)
    try:
        return model(x)
    finally:
        handle.remove()


def given_to(model: ModelAdapter, x: Tensor, layer: nn.Module) -> Tensor:
    """The tokens that `layer` is given for images x, without a graph."""
    seen: list[Tensor] = []

    def keep(layer: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(first_of((*args, *kwargs.values())).detach())

    handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        model(x)
    finally:
        handle.remove()
    return seen[0]


def giver(model: ModelAdapter, x: Tensor, layer: nn.Module) -> nn.Module | None:
    """The module whose output is the very tensor that `layer` is given; None where there is none.

    The last of them to end: one that only passes it on, or the one around it.
    """
    given: list[Tensor] = []
    gave: list[tuple[nn.Module, Tensor]] = []

    def keep(layer: nn.Module, args: Any, kwargs: Any) -> None:
        given.append(first_of((*args, *kwargs.values())))

    def see(part: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not given:
            gave.append((part, output))

    handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad(), hooked(model.module.modules(), see):
            model(x)
    finally:
        handle.remove()
    return next((part for part, tensor in reversed(gave) if tensor is given[0]), None)
