"""FGSM: one step along the sign of the loss gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.attacks._cases import BOTH_WAYS, LOSS, SIGN_ZERO, each_with
from bridge.attacks._descent import like_epsilon, one_step, one_step_observed, towards
from bridge.attacks._foolbox import run_foolbox
from bridge.core.gradients import loss_gradient
from bridge.core.method import sizes
from bridge.core.model import ModelAdapter
from bridge.core.parameters import LinfSize
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases


@attack(
    "fgsm",
    paper="arXiv:1412.6572",
    norm="linf",
    axioms=("ascent",),
    tiny={"epsilon": 0.1},
    recipe=one_step(torch.sign),
    observed=one_step_observed("linf"),
)
def fgsm(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: LinfSize = 8 / 255,
    targeted: bool = False,
) -> Tensor:
    """clip(x + epsilon * sign(d CE / d x)), with sign(0) = 0 (Goodfellow et al. 2014).

    `targeted=True` takes the classes to reach as `labels` and steps the other way.
    """
    step = epsilon * loss_gradient(model, x, labels).sign()
    return (x + towards(targeted) * step).clamp(*model.bounds)


@fgsm.fused("loss_gradient")
def fused(shared: Shared, *, epsilon: float | list[float], targeted: bool) -> Tensor:
    x, bounds, sign = shared.x, shared.model.bounds, shared["loss_gradient"].sign()
    moved = [(towards(targeted) * e * sign).add_(x).clamp_(*bounds) for e in sizes(epsilon)]
    return like_epsilon(moved, epsilon)


@fgsm.twin("foolbox", leaves="gradients")
def foolbox(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, targeted: bool
) -> Tensor:
    from foolbox.attacks import LinfBasicIterativeAttack, LinfFastGradientAttack

    # Foolbox's FGSM refuses a target; its BIM with one step of epsilon is the same arithmetic.
    if targeted:
        attack = LinfBasicIterativeAttack(abs_stepsize=epsilon, steps=1, random_start=False)
    else:
        attack = LinfFastGradientAttack(random_start=False)
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, targeted=targeted)


fgsm.cases = Cases(
    LOSS + "clip(x + epsilon * sign(g)) to [0, 1], sign(0) = 0",
    each_with({"epsilon": 0.125}, BOTH_WAYS),
    traps=SIGN_ZERO,
)
