"""PGD: BIM from a random point of the ball."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bridge.attacks._pgd import foolbox_pgd, from_the_images, fused_pgd, own_passes, pgd_from, starts_of
from bridge.model import ModelAdapter
from bridge.norms import project_linf, uniform
from bridge.registry import attack
from bridge.shared import Shared


def uniform_start(x: Tensor, epsilon: float) -> Tensor:
    """x + uniform noise in [-epsilon, epsilon), drawn as x + (rand * 2 epsilon + -epsilon)."""
    return x + uniform(x, -epsilon, epsilon)


def _default_step(epsilon: float, step_size: float | None) -> float:
    return 0.01 / 0.3 * epsilon if step_size is None else step_size


@attack("pgd", paper="arXiv:1706.06083", norm="linf", draw=starts_of(uniform_start))
def pgd(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float = 8 / 255,
    steps: int = 40,
    step_size: float | None = None,
    random_start: bool = True,
    start: Tensor | None = None,
    restarts: int = 1,
    targeted: bool = False,
) -> Tensor:
    """x_{k+1} = clip(project(x_k + step_size * sign(d CE / d x_k))) from a random point; last iterate (Madry et al. 2017).

    `step_size` is absolute, in pixel units; by default 0.01 / 0.3 * epsilon (as Foolbox). `start` takes
    the starting images themselves (with a leading axis for several restarts). With restarts each image keeps its worst
    case: the one that fools the model, then the one of largest loss.
    """
    return pgd_from(
        model, x, labels, uniform_start, epsilon=epsilon, steps=steps, step_size=_default_step(epsilon, step_size),
        random_start=random_start, start=start, restarts=restarts, targeted=targeted, direction=torch.sign,
        project=project_linf,
    )  # fmt: skip


@pgd.fused("loss_gradient", when=from_the_images, passes=own_passes)
def _(
    shared: Shared, *, epsilon: float | Sequence[float], steps: int, step_size: float | None, random_start: bool,
    start: Tensor | None, restarts: int, targeted: bool,
) -> Tensor:  # fmt: skip
    return fused_pgd(
        shared, uniform_start, epsilon=epsilon, step_size=lambda e: _default_step(e, step_size), steps=steps,
        random_start=random_start, start=start, restarts=restarts, targeted=targeted, direction=torch.sign,
        project=project_linf,
    )  # fmt: skip


@pgd.twin("foolbox")
def _(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, steps: int, step_size: float | None,
    random_start: bool, start: Tensor | None, restarts: int, targeted: bool,
) -> Tensor:  # fmt: skip
    from foolbox.attacks import LinfProjectedGradientDescentAttack

    return foolbox_pgd(
        LinfProjectedGradientDescentAttack, model, x, labels, epsilon=epsilon, steps=steps,
        step_size=_default_step(epsilon, step_size), random_start=random_start, start=start, restarts=restarts,
        targeted=targeted,
    )  # fmt: skip
