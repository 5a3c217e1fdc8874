"""Fool: iterate FGSM until the prediction changes, then stop, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.attacks._descent import check, like_epsilon, towards
from bridge.gradients import loss_gradient, predict, predicted
from bridge.model import ModelAdapter
from bridge.norms import project_linf
from bridge.registry import attack
from bridge.shared import Shared


@attack("fool", paper="arXiv:1607.02533", norm="linf")
def fool(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float | None = None,
    steps: int = 100,
    step_size: float = 1 / 255,
    targeted: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """x_{k+1} = clip(x_k + step_size * sign(d CE / d x_k)) until the prediction is not the label (targeted: is the class).

    Each image stops for itself and leaves the batch. Returns the images and {"iterations": (n,) int64}: steps taken, 0
    where nothing had to be done, -1 where `steps` did not suffice. With `epsilon` the iterates stay in that Linf ball.
    """
    check(epsilon, steps, step_size)
    adversarial = x.clone()
    iterations = torch.full_like(labels, -1)
    active = torch.arange(len(x), device=x.device)
    for step in range(steps + 1):
        done = (predict(model, adversarial[active]) == labels[active]) == targeted
        iterations[active[done]] = step
        active = active[~done]
        if step == steps or not len(active):
            break
        gradient = loss_gradient(model, adversarial[active], labels[active])
        moved = adversarial[active] + towards(targeted) * (step_size * gradient.sign())
        if epsilon is not None:
            moved = project_linf(moved, x[active], epsilon)
        adversarial[active] = moved.clamp(*model.bounds)
    return adversarial, {"iterations": iterations}


@fool.fused("logits", "loss_gradient", passes=lambda x, *, steps, **_: (steps, max(0, steps - 1)))
def _(
    shared: Shared, *, epsilon: float | Sequence[float] | None, steps: int, step_size: float, targeted: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """One forward pass a step says both who is done and, for the others, where to go; the first is the shared one."""
    if isinstance(epsilon, Sequence):
        runs = [_fool(shared, e, steps, step_size, targeted) for e in epsilon]
        return like_epsilon([images for images, _ in runs], epsilon), {"iterations": torch.stack([n for _, n in runs])}
    images, iterations = _fool(shared, epsilon, steps, step_size, targeted)
    return images, {"iterations": iterations}


def _fool(shared: Shared, epsilon: float | None, steps: int, step_size: float, targeted: bool) -> tuple[Tensor, Tensor]:
    check(epsilon, steps, step_size)
    x, labels = shared.x, shared.labels
    adversarial, iterations = x.clone(), torch.full_like(labels, -1)
    active = torch.arange(len(x), device=x.device)
    logits, gradient = shared["logits"], shared["loss_gradient"]
    for step in range(steps + 1):
        if step:
            images = adversarial[active].requires_grad_(step < steps)
            logits = shared.model(images)
        done = (predicted(logits) == labels[active]) == targeted
        iterations[active[done]] = step
        left = active[~done]
        if step == steps or not len(left):
            break
        if step:
            loss = F.cross_entropy(logits[~done], labels[left], reduction="sum")
            (gradient,) = torch.autograd.grad(loss, images)
        moved = adversarial[left] + towards(targeted) * (step_size * gradient[~done].sign())
        if epsilon is not None:
            moved = project_linf(moved, x[left], epsilon)
        adversarial[left] = moved.clamp_(*shared.model.bounds)
        active = left
    return adversarial, iterations
