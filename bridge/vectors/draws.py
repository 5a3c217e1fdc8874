"""Random numbers of test vectors: those that a method draws itself, from Python's generator."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bridge.core.method import Method
from bridge.core.state import seeded
from bridge.core.tags import AN_IMAGE
from bridge.vectors.networks import COARSE_IMAGE, FINE, NETWORKS, numbers


class SameEverywhere(TorchFunctionMode):
    """Inside, torch.rand, randn and randint give Python's numbers.

    Torch's own normal numbers differ in their last digits from one processor to another.
    """

    def __init__(self, draws: random.Random) -> None:
        super().__init__()
        self.draws = draws

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.rand:
            return self._filled(args, kwargs, self.draws.random)
        if func is torch.randn:
            return self._filled(args, kwargs, self._normal)
        if func is torch.randint:
            high, shape = args
            return self._filled(shape, {"dtype": torch.int64, **kwargs}, self._below(high))
        return func(*args, **kwargs)

    def _normal(self) -> float:
        return self.draws.gauss(0, 1)

    def _below(self, high: int) -> Callable[[], float]:
        return lambda: self.draws.randrange(high)

    def _filled(
        self, shape: tuple[Any, ...], kwargs: dict[str, Any], draw: Callable[[], float]
    ) -> Tensor:
        empty = torch.empty(*shape, **kwargs)
        drawn = [draw() for _ in range(empty.numel())]
        return torch.tensor(drawn, dtype=empty.dtype).view(empty.shape)


def drawn(
    method: Method, params: dict[str, Any], x: Tensor, network: str, case: str
) -> dict[str, Tensor]:
    """The tensors of a case: images where its parameters ask for some, and the method's draws.

    They have so few binary digits that they are the same in float32.
    """
    draws, bits = random.Random(case), COARSE_IMAGE if NETWORKS[network].exact else FINE
    found = {
        name: torch.tensor(numbers(draws, tuple(x.shape), bits, 0, 1))
        for name, value in params.items()
        if value == AN_IMAGE
    }
    draw = (method.cases and method.cases.draw) or method.draw
    if draw is not None:
        settings = {**method.bind({}), **params, **found}
        with seeded(0), SameEverywhere(draws):
            for name, value in draw(x, **settings).items():
                found[name] = _few_digits(value, bits)
    return found


def _few_digits(value: Tensor, bits: int) -> Tensor:
    return (value.double() * 2**bits).round() / 2**bits if value.is_floating_point() else value
