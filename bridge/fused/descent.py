"""Projected descent of several epsilons and restarts in one batch, with input gradients only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bridge.gradients import loss_gradient
from bridge.shared import Shared

# Images that descend together: more of them no longer fill a processor better, and only take memory.
NUMBERS_AT_ONCE = {"cpu": 2**21, "cuda": 2**26}


def same_draws(draw: Callable[[float], Tensor], epsilons: Sequence[float], device: torch.device) -> list[Tensor]:
    """draw(epsilon) for each, every time from the same random state: what running them one after another would draw."""
    if device.type == "cuda":
        state = torch.cuda.get_rng_state(device)
        restore = lambda: torch.cuda.set_rng_state(state, device)  # noqa: E731
    else:
        state = torch.get_rng_state()
        restore = lambda: torch.set_rng_state(state)  # noqa: E731
    drawn = []
    for epsilon in epsilons:
        restore()
        drawn.append(draw(epsilon))
    return drawn


def descend(
    shared: Shared,
    starts: Tensor,
    *,
    epsilon: Sequence[float],
    step_size: Sequence[float],
    steps: int,
    targeted: bool,
    direction: Callable[[Tensor], Tensor],
    project: Callable[..., Tensor],
    first: Tensor | None = None,
) -> Tensor:
    """x_{k+1} = clip(project(x_k +- step * direction(d CE / d x_k))) from starts (m, n, c, h, w), all m in one batch.

    `epsilon` and `step_size` have one number for each of the m. `first` is the gradient at the start where that is known,
    the clean images: its pass is then saved. The arithmetic is the reference's, operation by operation, so that one start
    alone is equal to the bit.
    """
    together = max(1, NUMBERS_AT_ONCE.get(starts.device.type, 2**21) // starts[0].numel())
    ends = []
    for at in range(0, len(starts), together):
        part = starts[at : at + together]
        ends.append(_descend(
            shared, part, epsilon[at : at + together], step_size[at : at + together], steps, targeted, direction, project,
            first,
        ))  # fmt: skip
    return torch.cat(ends)


def _descend(
    shared: Shared, starts: Tensor, epsilon: Sequence[float], step_size: Sequence[float], steps: int, targeted: bool,
    direction: Callable[[Tensor], Tensor], project: Callable[..., Tensor], first: Tensor | None,
) -> Tensor:  # fmt: skip
    copies, n = len(starts), len(shared.x)
    x, labels = shared.x, shared.labels
    radius: float | Tensor = epsilon[0]
    step: float | Tensor = -step_size[0] if targeted else step_size[0]
    if copies > 1:
        x, labels = x.repeat(copies, 1, 1, 1), labels.repeat(copies)
        first = None if first is None else first.repeat(copies, 1, 1, 1)
        radius, step = _column(epsilon, x, n), _column(step_size, x, n) * (-1 if targeted else 1)
    adversarial = starts.flatten(0, 1)
    low, high = shared.model.bounds
    for k in range(steps):
        gradient = first if k == 0 and first is not None else loss_gradient(shared.model, adversarial, labels)
        adversarial = project(adversarial + step * direction(gradient), x, radius).clamp_(low, high)
    return adversarial.view_as(starts)


def _column(values: Sequence[float], x: Tensor, each: int) -> Tensor:
    """One number for `each` images in turn, (m * each, 1, 1, 1)."""
    return torch.tensor(values, dtype=x.dtype, device=x.device).repeat_interleave(each).view(-1, 1, 1, 1)
