"""Blocks of a transformer: what they are given, what they give, and another thing in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.model import ModelAdapter
from bridge.core.state import hooked
from bridge.core.tokens import first_tensor


def blocks(model: ModelAdapter, x: Tensor) -> list[nn.Module]:
    """The module around each layer's attention. Raises ValueError where one has none."""
    tokens = model.tokens(x)
    if len(tokens.blocks) != tokens.layers or len(set(tokens.blocks)) != tokens.layers:
        raise ValueError(
            f"{len(set(tokens.blocks))} of the {tokens.layers} layers of attention stand in a "
            "module of their own that takes tokens (n, tokens, channels) and gives tokens"
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
        outputs.append(_tensor(output))
        return _with(output, outputs[-1].detach().requires_grad_())

    with hooked(layers, keep):
        yield outputs


def logits_after(model: ModelAdapter, x: Tensor, layer: nn.Module, tokens: Tensor) -> Tensor:
    """The logits of images x where `layer` gives other tokens, as many images as these are."""

    def put(layer: nn.Module, inputs: Any, output: Any) -> Any:
        return _with(output, tokens)

    with hooked([layer], put):
        return model(x)


def logits_from(model: ModelAdapter, x: Tensor, layer: nn.Module, tokens: Tensor) -> Tensor:
    """The logits of images x where `layer` is given other tokens."""

    def put(layer: nn.Module, args: Any, kwargs: Any) -> Any:
        if first_tensor(args) is not None:
            return _with(args, tokens), kwargs
        name = next(name for name, value in kwargs.items() if isinstance(value, Tensor))
        return args, {**kwargs, name: tokens}

    handle = layer.register_forward_pre_hook(put, with_kwargs=True)
    try:
        return model(x)
    finally:
        handle.remove()


def given_to(model: ModelAdapter, x: Tensor, layer: nn.Module) -> Tensor:
    """The tokens that `layer` is given for images x, without a graph."""
    seen: list[Tensor] = []

    def keep(layer: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(_tensor((*args, *kwargs.values())).detach())

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
        given.append(_tensor((*args, *kwargs.values())))

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


def _tensor(given: Any) -> Tensor:
    found = first_tensor(given)
    if found is None:
        raise TypeError(f"expected a tensor among a block's tokens, got {type(given).__name__}")
    return found


def _with(given: Any, tokens: Tensor) -> Any:
    """What a module took or gave, with other tokens as its first tensor."""
    if isinstance(given, Tensor):
        return tokens
    at = next(k for k, each in enumerate(given) if isinstance(each, Tensor))
    return (*given[:at], tokens, *given[at + 1 :])
