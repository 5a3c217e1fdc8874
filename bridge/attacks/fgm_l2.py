"""FGM in L2: one step along the normalised loss gradient."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bridge.attacks._descent import check, like_epsilon, sizes, towards
from bridge.attacks._foolbox import run_foolbox
from bridge.gradients import loss_gradient
from bridge.model import ModelAdapter
from bridge.norms import project_l2, unit_l2
from bridge.registry import attack
from bridge.shared import Shared


@attack("fgm_l2", paper="arXiv:1605.07725", norm="l2")
def fgm_l2(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float = 0.5, targeted: bool = False) -> Tensor:
    """clip(x + epsilon * g / max(norm2(g), 1e-12)), g = d CE / d x, norms per image (Miyato et al. 2016).

    `epsilon` is the L2 norm of the perturbation in pixel units; projected onto the ball, which only removes rounding.
    """
    check(epsilon)
    step = towards(targeted) * (epsilon * unit_l2(loss_gradient(model, x, labels)))
    return project_l2(x + step, x, epsilon).clamp(*model.bounds)


@fgm_l2.fused("loss_gradient")
def _(shared: Shared, *, epsilon: float | Sequence[float], targeted: bool) -> Tensor:
    x, step = shared.x, towards(targeted) * unit_l2(shared["loss_gradient"])
    moved = [project_l2(x + e * step, x, e).clamp_(*shared.model.bounds) for e in sizes(epsilon)]
    return like_epsilon(moved, epsilon)


@fgm_l2.twin("foolbox")
def _(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, targeted: bool) -> Tensor:
    from foolbox.attacks import L2BasicIterativeAttack, L2FastGradientAttack

    if targeted:  # as for fgsm: Foolbox's one-step attack refuses a target, its iterated one does not
        single = L2BasicIterativeAttack(abs_stepsize=epsilon, steps=1, random_start=False)
        return run_foolbox(single, model, x, labels, epsilon=epsilon, targeted=True)
    return run_foolbox(L2FastGradientAttack(random_start=False), model, x, labels, epsilon=epsilon)
