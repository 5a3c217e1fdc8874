"""Projected descent of several epsilons and restarts in one batch, with input gradients only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bridge.core.gradients import loss_gradient
from bridge.core.norms import per_image
from bridge.core.shared import Shared

# Numbers that descend together: more no longer fill a processor better, and only take memory.
NUMBERS_AT_ONCE = {"cpu": 2**21, "cuda": 2**26}


def same_draws(
    draw: Callable[[float], Tensor], epsilons: Sequence[float], device: torch.device
) -> list[Tensor]:
    """draw(epsilon) for each, every time from the same random state, on this device.

    It is what running them one after another would draw.
    """
    on_gpu = device.type == "cuda"
    state = torch.cuda.get_rng_state(device) if on_gpu else torch.get_rng_state()
    drawn = []
    for epsilon in epsilons:
        if on_gpu:
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)
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
    """x_{k+1} = clip(project(x_k +- step * direction(d CE / d x_k))) from `starts`.

    `starts` (m, n, c, h, w) descend in one batch; `epsilon` and `step_size` have one number for
    each of the m. `first` is the gradient at the start where that is known, of the clean images:
    its pass is then saved. The arithmetic is the reference's, operation by operation, so that one
    start alone is equal to the bit. Returns the last iterates, like `starts`.
    """
    at_once = max(1, NUMBERS_AT_ONCE.get(starts.device.type, 2**21) // starts[0].numel())
    low, high = shared.model.bounds
    ends = []
    for at in range(0, len(starts), at_once):
        part = slice(at, at + at_once)
        copies = len(starts[part])
        x, labels = _repeated(shared.x, copies), _repeated(shared.labels, copies)
        radius = _column(epsilon[part], shared.x)
        step = _column([-size if targeted else size for size in step_size[part]], shared.x)
        adversarial = starts[part].flatten(0, 1)
        for k in range(steps):
            if k == 0 and first is not None:
                gradient = _repeated(first, copies)
            else:
                gradient = loss_gradient(shared.model, adversarial, labels)
            moved = (step * direction(gradient)).add_(adversarial)  # sums round alike either way
            adversarial = project(moved, x, radius).clamp_(low, high)
        ends.append(adversarial.view_as(starts[part]))
    return torch.cat(ends)


def _repeated(values: Tensor, copies: int) -> Tensor:
    return values if copies == 1 else values.repeat(copies, *[1] * (values.ndim - 1))


def _column(values: Sequence[float], x: Tensor) -> float | Tensor:
    """One number for each copy of the images, (m * n, 1, 1, 1); of a single copy the number."""
    if len(values) == 1:
        return values[0]
    each = torch.tensor(values, dtype=x.dtype, device=x.device)
    return per_image(each.repeat_interleave(len(x)), x)
