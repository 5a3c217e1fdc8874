"""What PGD in Linf and in L2 have in common: random starts, restarts, and the Foolbox call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bridge.attacks._descent import Direction, Project, check, like_epsilon, projected_descent, sizes, worst_of
from bridge.attacks._foolbox import run_foolbox, starting_at
from bridge.fused.descent import descend, same_draws
from bridge.model import ModelAdapter
from bridge.shared import Shared
from bridge.types import Unsupported


def check_start(x: Tensor, start: Tensor | None, restarts: int) -> None:
    """Raise ValueError unless `start` has the images' shape (with a leading axis of `restarts` where there are several)."""
    expected = [tuple(x.shape)] * (restarts == 1) + [(restarts, *x.shape)]
    if start is not None and tuple(start.shape) not in expected:
        raise ValueError(f"start has shape {tuple(start.shape)}, expected {' or '.join(map(str, expected))}")


def pgd_from(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    draw: Callable[[Tensor, float], Tensor],
    *,
    epsilon: float,
    steps: int,
    step_size: float,
    random_start: bool,
    start: Tensor | None,
    restarts: int,
    targeted: bool,
    direction: Direction,
    project: Project,
) -> Tensor:
    """Projected descent from each start, clipped to the bounds; the worst of the restarts for each image."""
    check(epsilon, steps, step_size, restarts)
    check_start(x, start, restarts)
    if start is not None:
        starts = list(start.to(x).view(-1, *x.shape).unbind(0))
    elif random_start:
        starts = [draw(x, epsilon) for _ in range(restarts)]
    elif restarts == 1:
        starts = [x]
    else:
        raise ValueError("restarts without a random start would all be the same: pass random_start=True or start=")
    ends = [
        projected_descent(
            model, x, labels, first.clamp(*model.bounds), epsilon=epsilon, steps=steps, step_size=step_size,
            targeted=targeted, direction=direction, project=project,
        )
        for first in starts
    ]  # fmt: skip
    return worst_of(model, labels, ends, targeted=targeted)


def foolbox_pgd(
    attack_class: Any, model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, steps: int, step_size: float,
    random_start: bool, start: Tensor | None, restarts: int, targeted: bool,
) -> Tensor:  # fmt: skip
    """Foolbox's PGD of this class, from `start` where one is given."""
    check_start(x, start, restarts)
    if restarts != 1:
        raise Unsupported("Foolbox's repeat() keeps the first successful run, not the worst case; it maps to restarts=1 only")
    attack = attack_class(abs_stepsize=step_size, steps=steps, random_start=random_start or start is not None)
    if start is not None:
        attack = starting_at(attack, start.to(x).view(x.shape))
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, targeted=targeted)


def starts_of(draw: Callable[[Tensor, float], Tensor]) -> Callable[..., dict[str, Tensor]]:
    """The `draw` of a PGD: its random starts as the parameter `start`, in the order that the attack draws them."""

    def starts(
        x: Tensor, *, epsilon: float, random_start: bool, start: Tensor | None, restarts: int, **_: Any
    ) -> dict[str, Tensor]:
        if not random_start or start is not None:
            return {}
        drawn = [draw(x, epsilon) for _ in range(restarts)]
        return {"start": drawn[0] if restarts == 1 else torch.stack(drawn)}

    return starts


def fused_pgd(
    shared: Shared, draw: Callable[[Tensor, float], Tensor], *, epsilon: float | Sequence[float],
    step_size: Callable[[float], float], steps: int, random_start: bool, start: Tensor | None, restarts: int,
    targeted: bool, direction: Direction, project: Project,
) -> Tensor:  # fmt: skip
    """`pgd_from` with all epsilons and restarts in one batch, and the first step from the shared gradient where it can be."""
    x, epsilons = shared.x, sizes(epsilon, steps, None, restarts)
    for e in epsilons:
        check(e, steps, step_size(e))
    check_start(x, start, restarts)
    if start is not None:
        starts = [start.to(x).view(restarts, *x.shape)] * len(epsilons)
    elif random_start:
        starts = same_draws(lambda e: torch.stack([draw(x, e) for _ in range(restarts)]), epsilons, x.device)
    elif restarts == 1:
        starts = [x[None]] * len(epsilons)
    else:
        raise ValueError("restarts without a random start would all be the same: pass random_start=True or start=")
    first = shared["loss_gradient"] if from_the_images(random_start=random_start, start=start) else None
    ends = descend(
        shared, torch.cat(starts).clamp(*shared.model.bounds), epsilon=[e for e in epsilons for _ in range(restarts)],
        step_size=[step_size(e) for e in epsilons for _ in range(restarts)], steps=steps, targeted=targeted,
        direction=direction, project=project, first=first,
    ).view(len(epsilons), restarts, *x.shape)  # fmt: skip
    worst = [worst_of(shared.model, shared.labels, list(each.unbind(0)), targeted=targeted) for each in ends]
    return like_epsilon(worst, epsilon)


def from_the_images(*, random_start: bool, start: Tensor | None, **_: Any) -> bool:
    """Whether the first step starts from the clean images, whose gradient is shared."""
    return not random_start and start is None


def own_passes(x: Tensor, *, steps: int, restarts: int, **params: Any) -> tuple[int, int]:
    """The steps of all restarts (the first is shared where it starts from the images), and one look at each restart's end."""
    backwards = restarts * (steps - from_the_images(**params))
    return backwards + (restarts if restarts > 1 else 0), backwards
