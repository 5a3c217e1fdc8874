"""Images near the explained ones: noise, or what attacks of the same size make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bridge.core.engine import execute
from bridge.core.method import Method
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.core.registry import get, methods
from bridge.core.types import Run
from bridge.fused.planning import Plan, task_of
from bridge.metrics.explanation_attack import attack_explanation

Kind = Literal["uniform", "adversarial", "explanation"]
# Draws can be given (`noise`), attacks cannot: nobody's own code is asked for those.
Perturbation = Annotated[
    Kind, Domain(choices=("uniform", "adversarial", "explanation"), others=("uniform",))
]
Radius = Annotated[float, Domain(low=0, unit="Linf, in pixel units")]


def neighbours(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    radius: float,
    samples: int,
    noise: Tensor | None,
    perturbation: Kind,
) -> list[Tensor]:
    """Images within `radius` (Linf) of images x (n, c, h, w), each a batch like them.

    "uniform": `samples` draws of uniform noise, or x plus each of `noise` (samples, n, c, h, w);
    they may leave the bounds. "adversarial": what each attack of the prediction returns that climbs
    the loss's gradient in the Linf ball and draws nothing (see `gradient_attacks`). "explanation":
    what `attack_explanation` returns, which moves the gradient's map and keeps the class; with
    both `samples` means nothing. Raises ValueError for `noise` beside an attack.
    """
    if perturbation == "uniform":
        return [x + each for each in (drawn(x, radius, samples) if noise is None else noise)]
    if noise is not None:
        raise ValueError(f'noise is for perturbation="uniform", not for {perturbation!r}')
    if perturbation == "explanation":
        seed = int(torch.randint(2**31, ()))
        return [attack_explanation(model, x, target, epsilon=radius, seed=seed).images]
    return [attacked(method, model, x, target, radius) for method in gradient_attacks()]


def drawn(x: Tensor, radius: float, samples: int) -> Tensor:
    """Uniform noise within `radius` for images x, (samples, n, c, h, w)."""
    return radius * (2 * torch.rand(samples, *x.shape, dtype=x.dtype, device=x.device) - 1)


def explained(
    *, samples: int = 10, noise: Tensor | None = None, perturbation: Kind = "uniform", **_: Any
) -> float:
    """How many neighbours there are, each of which is explained."""
    if perturbation == "uniform":
        return samples if noise is None else len(noise)
    return len(gradient_attacks()) if perturbation == "adversarial" else 1


def made(
    pixels: int, *, perturbation: Kind = "uniform", looked: bool = False, **near: Any
) -> float:
    """How many images it takes to make them; where each is `looked` at, and the image itself, too.

    NaN for attacks on explanations, whose steps are many.
    """
    looks = 1 + explained(perturbation=perturbation, **near) if looked else 0
    if perturbation == "explanation":
        return math.nan
    if perturbation == "uniform":
        return looks
    x = torch.zeros(1, 1, 1, pixels)
    tasks = tuple(task_of(method.name, {}, x) for method in gradient_attacks())
    return looks + sum(Plan((task,), predict=False).passes[0] for task in tasks)


def gradient_attacks() -> list[Method]:
    """The attacks that climb the loss by its gradient in the Linf ball and draw nothing, by tags.

    >>> "pgd" in [method.name for method in gradient_attacks()]  # it starts at random
    False
    """
    known = [get(name) for name in methods("attack")]
    return [m for m in known if m.norm == "linf" and "ascent" in m.tags.axioms and not m.random]


def one_step() -> Method:
    """Of these the one that moves each pixel by epsilon, once, as its recipe says.

    >>> one_step().tags.recipe(torch.zeros(1, 1, 1, 1), (0, 1), epsilon=0.1, targeted=False).step
    0.1
    """
    x = torch.zeros(1, 1, 1, 1)
    for method in gradient_attacks():
        if method.tags.recipe is not None:
            recipe = method.tags.recipe(x, (0.0, 1.0), **method.bind({}))
            if recipe.steps == 1 and recipe.direction is torch.sign:
                return method
    raise KeyError("no attack is registered that takes one step along the gradient's sign")


def attacked(
    method: Method, model: ModelAdapter, x: Tensor, labels: Tensor, epsilon: float
) -> Tensor:
    """What an attack returns at this epsilon, by our quickest implementation."""
    return running(method, epsilon)(model, x, labels).output


def running(method: Method, epsilon: float) -> Callable[..., Run]:
    """An attack at this epsilon by our quickest implementation, as f(model, x, labels)."""
    by, params = method.quickest, method.bind({"epsilon": epsilon})
    return partial(execute, method, method.function(by), by, params=params, seed=0)
