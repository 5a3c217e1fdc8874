"""BIM (iterated FGSM): small sign steps inside the ball, from the image itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bridge.attacks._descent import check, like_epsilon, projected_descent, sizes
from bridge.attacks._foolbox import run_foolbox
from bridge.fused.descent import descend
from bridge.model import ModelAdapter
from bridge.norms import project_linf
from bridge.registry import attack
from bridge.shared import Shared


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
        model, x, labels, x, epsilon=epsilon, steps=steps, step_size=_step(epsilon, step_size), targeted=targeted,
        direction=torch.sign, project=project_linf,
    )  # fmt: skip


def _step(epsilon: float, step_size: float | None) -> float:
    return 0.2 * epsilon if step_size is None else step_size


@bim.fused("loss_gradient", passes=lambda x, *, steps, **_: (steps - 1, steps - 1))
def _(shared: Shared, *, epsilon: float | Sequence[float], steps: int, step_size: float | None, targeted: bool) -> Tensor:
    epsilons = sizes(epsilon, steps, step_size)
    ends = descend(
        shared, shared.x.expand(len(epsilons), *shared.x.shape), epsilon=epsilons,
        step_size=[_step(e, step_size) for e in epsilons], steps=steps, targeted=targeted, direction=torch.sign,
        project=project_linf, first=shared["loss_gradient"],
    )  # fmt: skip
    return like_epsilon(ends, epsilon)


@bim.twin("foolbox")
def _(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, steps: int, step_size: float | None, targeted: bool
) -> Tensor:
    from foolbox.attacks import LinfBasicIterativeAttack

    step = _step(epsilon, step_size)
    attack = LinfBasicIterativeAttack(abs_stepsize=step, steps=steps, random_start=False)
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, targeted=targeted)
