"""PGD in L2: normalised gradient steps inside the L2 ball, from a random point of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bridge.attacks._pgd import foolbox_pgd, from_the_images, fused_pgd, own_passes, pgd_from, starts_of
from bridge.model import ModelAdapter
from bridge.norms import project_l2, unit_ball, unit_l2
from bridge.registry import attack
from bridge.shared import Shared


def ball_start(x: Tensor, epsilon: float) -> Tensor:
    """x + epsilon times a uniform point of the L2 unit ball."""
    return x + epsilon * unit_ball(x)


def _default_step(epsilon: float, step_size: float | None) -> float:
    return 0.025 * epsilon if step_size is None else step_size


@attack("pgd_l2", paper="arXiv:1706.06083", norm="l2", draw=starts_of(ball_start))
def pgd_l2(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float = 0.5,
    steps: int = 50,
    step_size: float | None = None,
    random_start: bool = True,
    start: Tensor | None = None,
    restarts: int = 1,
    targeted: bool = False,
) -> Tensor:
    """x_{k+1} = clip(project(x_k + step_size * g / max(norm2(g), 1e-12))) from a random point; last iterate (Madry 2017).

    Parameters as in pgd, with `epsilon` the radius of the L2 ball and a default step of 0.025 * epsilon.
    """
    return pgd_from(
        model, x, labels, ball_start, epsilon=epsilon, steps=steps, step_size=_default_step(epsilon, step_size),
        random_start=random_start, start=start, restarts=restarts, targeted=targeted, direction=unit_l2,
        project=project_l2,
    )  # fmt: skip


@pgd_l2.fused("loss_gradient", when=from_the_images, passes=own_passes)
def _(
    shared: Shared, *, epsilon: float | Sequence[float], steps: int, step_size: float | None, random_start: bool,
    start: Tensor | None, restarts: int, targeted: bool,
) -> Tensor:  # fmt: skip
    return fused_pgd(
        shared, ball_start, epsilon=epsilon, step_size=lambda e: _default_step(e, step_size), steps=steps,
        random_start=random_start, start=start, restarts=restarts, targeted=targeted, direction=unit_l2,
        project=project_l2,
    )  # fmt: skip


@pgd_l2.twin("foolbox")
def _(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, steps: int, step_size: float | None,
    random_start: bool, start: Tensor | None, restarts: int, targeted: bool,
) -> Tensor:  # fmt: skip
    from foolbox.attacks import L2ProjectedGradientDescentAttack

    return foolbox_pgd(
        L2ProjectedGradientDescentAttack, model, x, labels, epsilon=epsilon, steps=steps,
        step_size=_default_step(epsilon, step_size), random_start=random_start, start=start, restarts=restarts,
        targeted=targeted,
    )  # fmt: skip
