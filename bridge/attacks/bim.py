"""BIM (iterated FGSM): small sign steps inside the ball, from the image itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from bridge.attacks import _cases, _descent
from bridge.attacks._descent import LINF, Descent
from bridge.core.model import ModelAdapter
from bridge.core.parameters import LinfSize, Steps, StepSize
from bridge.core.recipe import Recipe
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases

# Its parameters as one record; without a step size it takes Foolbox's share of epsilon.
descent = partial(Descent, LINF, 0.2)


def recipe(x: Tensor, bounds: tuple[float, float], **params: Any) -> Recipe:
    return _descent.recipe(x, bounds, descent(**params))


@attack(
    "bim",
    paper="arXiv:1607.02533",
    norm="linf",
    axioms=("ascent",),
    quick={"steps": 5},
    quickest={"steps": 2},
    tiny={"epsilon": 0.1, "step_size": 0.04},
    recipe=recipe,
    observed=_descent.observed("linf"),
)
def bim(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: LinfSize = 8 / 255,
    steps: Steps = 10,
    step_size: StepSize = None,
    targeted: bool = False,
) -> Tensor:
    """x_{k+1} = clip(project(x_k + step_size * sign(d CE / d x_k))) from x_0 = x; the last iterate.

    `step_size` is absolute, in pixel units; by default 0.2 * epsilon (Kurakin et al. 2016).
    """
    return _descent.reference(
        model, x, labels, descent(epsilon, steps, step_size, targeted=targeted)
    )


def _passes(x: Tensor, **params: Any) -> tuple[int, int]:
    return _descent.own_passes(descent(**params))


@bim.fused("loss_gradient", passes=_passes)
def fused(shared: Shared, **params: Any) -> Tensor:
    return _descent.fused(shared, descent(**params))


@bim.twin("foolbox", leaves="gradients")
def foolbox(model: ModelAdapter, x: Tensor, labels: Tensor, **params: Any) -> Tensor:
    from foolbox.attacks import LinfBasicIterativeAttack

    return _descent.foolbox(LinfBasicIterativeAttack, model, x, labels, descent(**params))


bim.cases = Cases(
    f"{_cases.LOSS}{_cases.WALK}{_cases.IN_LINF}",
    _cases.each_with(_cases.LINF_CASE, _cases.BOTH_WAYS),
    traps=_cases.SIGN_ZERO,
)
