"""FGSM: one step along the sign of the loss gradient."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bridge.attacks._descent import check, like_epsilon, sizes, towards
from bridge.attacks._foolbox import run_foolbox
from bridge.gradients import loss_gradient
from bridge.model import ModelAdapter
from bridge.registry import attack
from bridge.shared import Shared


@attack("fgsm", paper="arXiv:1412.6572", norm="linf")
def fgsm(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float = 8 / 255, targeted: bool = False) -> Tensor:
    """clip(x + epsilon * sign(d CE / d x)), with sign(0) = 0 (Goodfellow et al. 2014).

    `targeted=True` takes the classes to reach as `labels` and steps the other way.
    """
    check(epsilon)
    return (x + towards(targeted) * (epsilon * loss_gradient(model, x, labels).sign())).clamp(*model.bounds)


@fgsm.fused("loss_gradient")
def _(shared: Shared, *, epsilon: float | Sequence[float], targeted: bool) -> Tensor:
    x, bounds, sign = shared.x, shared.model.bounds, shared["loss_gradient"].sign()
    return like_epsilon([(towards(targeted) * e * sign).add_(x).clamp_(*bounds) for e in sizes(epsilon)], epsilon)


@fgsm.twin("foolbox")
def _(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, targeted: bool) -> Tensor:
    from foolbox.attacks import LinfBasicIterativeAttack, LinfFastGradientAttack

    if targeted:  # Foolbox's FGSM refuses a target; its BIM with one step of epsilon is the same arithmetic
        single = LinfBasicIterativeAttack(abs_stepsize=epsilon, steps=1, random_start=False)
        return run_foolbox(single, model, x, labels, epsilon=epsilon, targeted=True)
    return run_foolbox(LinfFastGradientAttack(random_start=False), model, x, labels, epsilon=epsilon)
