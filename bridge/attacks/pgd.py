"""PGD: BIM from a random point of the ball."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from bridge.attacks import _cases, _descent
from bridge.attacks._descent import LINF, Descent
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Draw, LinfSize, Restarts, Steps, StepSize
from bridge.core.recipe import Recipe
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases

# Its parameters as one record; without a step size it takes Foolbox's share of epsilon.
descent = partial(Descent, LINF, 0.01 / 0.3)


def recipe(x: Tensor, bounds: tuple[float, float], **params: Any) -> Recipe:
    return _descent.recipe(x, bounds, descent(**params))


@attack(
    "pgd",
    paper="arXiv:1706.06083",
    norm="linf",
    draw=_descent.draws(LINF),
    requires=_descent.requires,
    axioms=("ascent",),
    quick={"steps": 5},
    quickest={"steps": 2},
    tiny={"epsilon": 0.1, "step_size": 0.04},
    recipe=recipe,
    observed=_descent.observed("linf"),
)
def pgd(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: LinfSize = 8 / 255,
    steps: Steps = 40,
    step_size: StepSize = None,
    random_start: bool = True,
    start: Draw = None,
    restarts: Restarts = 1,
    targeted: bool = False,
) -> Tensor:
    """x_{k+1} = clip(project(x_k + step_size * sign(d CE / d x_k))) from a random point; the last.

    `step_size` is absolute, in pixel units; by default 0.01 / 0.3 * epsilon (as Foolbox). `start`
    takes the starting images themselves (with a leading axis for several restarts). With restarts
    each image keeps its worst case: the one that fools the model, then the one of largest loss
    (Madry et al. 2017).
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


@pgd.fused("loss_gradient", when=_from_the_images, passes=_passes)
def fused(shared: Shared, **params: Any) -> Tensor:
    return _descent.fused(shared, descent(**params))


@pgd.twin("foolbox", leaves="gradients")
def foolbox(model: ModelAdapter, x: Tensor, labels: Tensor, **params: Any) -> Tensor:
    from foolbox.attacks import LinfProjectedGradientDescentAttack

    return _descent.foolbox(LinfProjectedGradientDescentAttack, model, x, labels, descent(**params))


pgd.cases = Cases(
    f"{_cases.LOSS}{_cases.WALK}{_cases.RESTARTS}{_cases.IN_LINF}",
    _cases.each_with(_cases.LINF_CASE, _cases.FROM_STARTS[:3]),
    traps={**_cases.SIGN_ZERO, **_cases.START},
)
