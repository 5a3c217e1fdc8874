"""The blocks of a transformer: modules around one attention each, and no way round them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.attention import Explicit

Logits = Callable[[Tensor], Tensor]


class Calls:
    """Which attention ran inside of which call of a module, and between which shapes."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.parts = {part: name for name, part in module.named_modules() if name}
        self.seen: list[tuple[nn.Module, int, int, Any, Any]] = []

    @contextmanager
    def watched(self, mode: Explicit) -> Iterator[None]:
        """Inside, a pass in `mode` is noted."""
        entered: list[tuple[int, Any]] = []

        def enter(part: nn.Module, args: Any, kwargs: Any) -> None:
            entered.append((len(mode.weights), _shape((*args, *kwargs.values()))))

        def leave(part: nn.Module, args: Any, output: Any) -> None:
            before, given = entered.pop()
            self.seen.append((part, before, len(mode.weights), given, _shape(output)))

        handles = [part.register_forward_pre_hook(enter, with_kwargs=True) for part in self.parts]
        handles += [part.register_forward_hook(leave) for part in self.parts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def blocks(self, model: Logits, image: Tensor, layers: int, count: int) -> tuple[str, ...]:
        """For each attention the outermost module around it alone that keeps the tokens' shape.

        One of a list of modules before others, since a single block stands in modules that do more.
        () unless all that the logits depend on goes through each of them.
        """
        names: list[str] = []
        for layer in range(layers):
            around = [
                self.parts[part]
                for part, before, after, given, gave in self.seen
                if (before, after) == (layer, layer + 1)
                and given == gave
                and given[1:2] == (count,)
            ]
            listed = [name for name in around if self._is_listed(name)]
            names += (listed or around)[-1:]
        if len(set(names)) < layers:
            return ()
        chain = _is_chain(model, image, [self.module.get_submodule(name) for name in names])
        return tuple(names) if chain else ()

    def _is_listed(self, name: str) -> bool:
        parent = name.rpartition(".")[0]
        lists = nn.Sequential | nn.ModuleList
        return any(isinstance(part, lists) for part, at in self.parts.items() if at == parent)


def _is_chain(model: Logits, image: Tensor, blocks: Sequence[nn.Module]) -> bool:
    """Whether each block, and then the logits, depend on nothing but what the one before gave.

    What the first is given and what each gives is replaced by the same numbers without a graph: no
    gradient may reach anything before.
    """
    starts = [image.clone().requires_grad_()]
    ends: list[Tensor] = []

    def anew(tokens: Tensor) -> Tensor:
        starts.append(tokens.detach().requires_grad_())
        return starts[-1]

    def enter(block: nn.Module, args: Any, kwargs: Any) -> Any:
        return with_first(args, kwargs, anew)

    def leave(block: nn.Module, inputs: Any, output: Any) -> Any:
        ends.append(first_of(output))
        return with_tensor(output, anew(ends[-1]))

    handles = [blocks[0].register_forward_pre_hook(enter, with_kwargs=True)]
    handles += [block.register_forward_hook(leave) for block in blocks]
    try:
        with torch.enable_grad():
            ends.append(model(starts[0]))
    finally:
        for handle in handles:
            handle.remove()
    return len(ends) == len(blocks) + 1 and not any(
        _reached(end, starts[: place + 1]) for place, end in enumerate(ends)
    )


def _reached(end: Tensor, starts: Sequence[Tensor]) -> bool:
    """Whether a gradient reaches any of the starts."""
    if not end.requires_grad:
        return False
    found = torch.autograd.grad(end.sum(), starts, allow_unused=True, retain_graph=True)
    return any(gradient is not None for gradient in found)


def first_of(given: Any) -> Tensor:
    """A tensor, or the first in a tuple of things. Raises TypeError without one."""
    found = _first(given)
    if found is None:
        raise TypeError(f"expected a tensor among a block's tokens, got {type(given).__name__}")
    return found


def with_tensor(given: Any, tokens: Tensor) -> Any:
    """What a module took or gave, with other tokens as its first tensor."""
    if isinstance(given, Tensor):
        return tokens
    at = next(k for k, each in enumerate(given) if isinstance(each, Tensor))
    return (*given[:at], tokens, *given[at + 1 :])


def with_first(args: Any, kwargs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """What a module is called with, its first tensor changed: for a hook before its call."""
    tokens = first_of((*args, *kwargs.values()))
    if any(each is tokens for each in args):
        return with_tensor(args, change(tokens)), kwargs
    name = next(name for name, value in kwargs.items() if value is tokens)
    return args, {**kwargs, name: change(tokens)}


def _first(given: Any) -> Tensor | None:
    if isinstance(given, Tensor):
        return given
    if isinstance(given, tuple | list):
        return next((each for each in given if isinstance(each, Tensor)), None)
    return None


def _shape(given: Any) -> tuple[int, ...]:
    found = _first(given)
    return () if found is None else tuple(found.shape)
