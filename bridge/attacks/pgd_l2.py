"""PGD in L2: normalised gradient steps inside the L2 ball, from a random point of it."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from bridge.attacks import _cases, _descent
from bridge.attacks._descent import L2, Descent
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Draw, L2Size, Restarts, Steps, StepSize
from bridge.core.recipe import Recipe
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases

# Its parameters as one record; without a step size it takes Foolbox's share of epsilon.
descent = partial(Descent, L2, 0.025)


def recipe(x: Tensor, bounds: tuple[float, float], **params: Any) -> Recipe:
    return _descent.recipe(x, bounds, descent(**params))


@attack(
    "pgd_l2",
    paper="arXiv:1706.06083",
    norm="l2",
    draw=_descent.draws(L2),
    requires=_descent.requires,
    axioms=("ascent",),
    quick={"steps": 5},
    quickest={"steps": 2},
    tiny={"epsilon": 0.9, "step_size": 0.35},
    recipe=recipe,
    observed=_descent.observed("l2"),
)
def pgd_l2(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: L2Size = 0.5,
    steps: Steps = 50,
    step_size: StepSize = None,
    random_start: bool = True,
    start: Draw = None,
    restarts: Restarts = 1,
    targeted: bool = False,
) -> Tensor:
    """x_{k+1} = clip(project(x_k + step_size * g / max(norm2(g), 1e-12))) from a random point.

    The last iterate; g = d CE / d x_k. Parameters as in pgd, with `epsilon` the radius of the L2
    ball and a default step of 0.025 * epsilon (Madry et al. 2017).
    """
    return _descent.reference(
        model,
        x,
        labels,
        descent(epsilon, steps, step_size, random_start, start, restarts, targeted),
    )


def _from_the_images(**params: Any) -> bool:
    return descent(**params).from_the_images


def _passes(x: Tensor, **params: Any) -> tuple[int, int]:
    return _descent.own_passes(descent(**params))


@pgd_l2.fused("loss_gradient", when=_from_the_images, passes=_passes)
def fused(shared: Shared, **params: Any) -> Tensor:
    return _descent.fused(shared, descent(**params))


@pgd_l2.twin("foolbox", leaves="gradients")
def foolbox(model: ModelAdapter, x: Tensor, labels: Tensor, **params: Any) -> Tensor:
    from foolbox.attacks import L2ProjectedGradientDescentAttack

    return _descent.foolbox(L2ProjectedGradientDescentAttack, model, x, labels, descent(**params))


pgd_l2.cases = Cases(
    f"{_cases.LOSS}{_cases.WALK}{_cases.RESTARTS}{_cases.IN_L2}",
    _cases.each_with(_cases.L2_CASE, _cases.FROM_STARTS),
    traps={**_cases.OWN_NORMS, **_cases.START},
)
