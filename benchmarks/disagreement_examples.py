"""Examples whose every answer can be written down, and how a library is asked about them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter

SIDE = 4
BLACK = {"perturb_baseline": 0.0}  # Quantus' own "black" is a row of its own


@dataclass(frozen=True)
class Row:
    """What is computed on which example, the library's number and ours; the equation; who is right.

    A text stands for what is raised.
    """

    what: str
    library: str
    example: str
    theirs: float | str
    ours: float | str
    equation: str
    follows: str


Make = Callable[[], Row]
ROWS: dict[str, list[Make]] = {}


def of(library: str) -> Callable[[Make], Make]:
    """A row that needs this package."""

    def register(make: Make) -> Make:
        ROWS.setdefault(library, []).append(make)
        return make

    return register


# Examples: linear models, whose every answer can be written down.


class Linear(nn.Module):
    """Logits (w . x, 0) of images (n, c, h, w)."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        first = (x * self.weights).flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


def linear(channels: int = 1) -> tuple[ModelAdapter, Tensor, Tensor, Tensor]:
    """A linear model, two images, their classes, and the true contributions w * x."""
    torch.manual_seed(0)
    model = Linear(torch.rand(channels, SIDE, SIDE) - 0.3).eval()
    x = torch.rand(2, channels, SIDE, SIDE)
    zeros = torch.zeros(2, dtype=torch.int64)
    return bridge.wrap(model), x, zeros, (model.weights * x).detach()


def ours(name: str, world: Any, **params: Any) -> Tensor:
    model, x, target, maps = world
    return bridge.measure(name, model, x, target, maps, **params).as_subclass(Tensor)


def by_quantus(
    metric: str, world: Any, *, maps: Any = None, masks: Any = None, **given: Any
) -> Any:
    """What a metric of Quantus says; `given` are its own parameters, else its defaults."""
    import quantus

    call = {key: given.pop(key) for key in ("softmax", "explain_func") if key in given}
    model, x, target, own = world
    made = getattr(quantus, metric)(disable_warnings=True, **given)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return made(
            model=model.module,
            x_batch=x.numpy(),
            y_batch=target.numpy(),
            a_batch=(own if maps is None else maps).numpy() if maps is not False else None,
            s_batch=masks,
            device="cpu",
            **call,
        )


def raised(call: Callable[[], Any]) -> str:
    """The kind of what a call raises. Raises RuntimeError where it raises nothing."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    raise RuntimeError("it raises no more")


def corner() -> Any:
    """A mask of one pixel in the corner, (2, 1, h, w)."""
    masks = np.zeros((2, 1, SIDE, SIDE), dtype=bool)
    masks[:, :, 0, 0] = True
    return masks
