"""FGM in L2: one step along the normalised loss gradient."""

from __future__ import annotations

from torch import Tensor

from bridge.attacks._cases import BOTH_WAYS, IN_L2, LOSS, OWN_NORMS, each_with
from bridge.attacks._descent import like_epsilon, one_step, one_step_observed, towards
from bridge.attacks._foolbox import run_foolbox
from bridge.core.gradients import loss_gradient
from bridge.core.method import sizes
from bridge.core.model import ModelAdapter
from bridge.core.norms import project_l2, unit_l2
from bridge.core.parameters import L2Size
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases


@attack(
    "fgm_l2",
    paper="arXiv:1605.07725",
    norm="l2",
    axioms=("ascent",),
    tiny={"epsilon": 0.7},
    recipe=one_step(unit_l2),
    observed=one_step_observed("l2"),
)
def fgm_l2(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: L2Size = 0.5,
    targeted: bool = False,
) -> Tensor:
    """clip(x + epsilon * g / max(norm2(g), 1e-12)), g = d CE / d x, norms per image.

    `epsilon` is the L2 norm of the perturbation in pixel units; projected onto the ball, which only
    removes rounding (Miyato et al. 2016).
    """
    step = towards(targeted) * (epsilon * unit_l2(loss_gradient(model, x, labels)))
    return project_l2(x + step, x, epsilon).clamp(*model.bounds)


@fgm_l2.fused("loss_gradient")
def fused(shared: Shared, *, epsilon: float | list[float], targeted: bool) -> Tensor:
    x, step = shared.x, towards(targeted) * unit_l2(shared["loss_gradient"])
    moved = [project_l2(x + e * step, x, e).clamp_(*shared.model.bounds) for e in sizes(epsilon)]
    return like_epsilon(moved, epsilon)


@fgm_l2.twin("foolbox", leaves="gradients")
def foolbox(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, targeted: bool
) -> Tensor:
    from foolbox.attacks import L2BasicIterativeAttack, L2FastGradientAttack

    # As for fgsm: Foolbox's one-step attack refuses a target, its iterated one does not.
    if targeted:
        attack = L2BasicIterativeAttack(abs_stepsize=epsilon, steps=1, random_start=False)
    else:
        attack = L2FastGradientAttack(random_start=False)
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, targeted=targeted)


fgm_l2.cases = Cases(
    f"{LOSS}clip(project(x + epsilon * d(g))) to [0, 1]. {IN_L2}",
    each_with({"epsilon": 0.75}, BOTH_WAYS),
    traps=OWN_NORMS,
)
