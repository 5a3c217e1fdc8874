"""BIM (iterated FGSM): small sign steps inside the ball, from the image itself."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.attacks._descent import check, projected_descent
from bridge.attacks._foolbox import run_foolbox
from bridge.model import ModelAdapter
from bridge.norms import project_linf
from bridge.registry import attack


@attack("bim", paper="arXiv:1607.02533", norm="linf")
def bim(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float = 8 / 255,
    steps: int = 10,
    step_size: float | None = None,
    targeted: bool = False,
) -> Tensor:
    """x_{k+1} = clip(project(x_k + step_size * sign(d CE / d x_k))) from x_0 = x; the last iterate (Kurakin et al. 2016).

    `step_size` is absolute, in pixel units; by default 0.2 * epsilon.
    """
    check(epsilon, steps, step_size)
    return projected_descent(
        model, x, labels, x, epsilon=epsilon, steps=steps, step_size=0.2 * epsilon if step_size is None else step_size,
        targeted=targeted, direction=torch.sign, project=project_linf,
    )  # fmt: skip


@bim.twin("foolbox")
def _(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, steps: int, step_size: float | None, targeted: bool
) -> Tensor:
    from foolbox.attacks import LinfBasicIterativeAttack

    step = 0.2 * epsilon if step_size is None else step_size
    attack = LinfBasicIterativeAttack(abs_stepsize=step, steps=steps, random_start=False)
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, targeted=targeted)
