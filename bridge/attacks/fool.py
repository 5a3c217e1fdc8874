"""Fool: iterate FGSM until the prediction changes, then stop, image by image."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.attacks._descent import check, towards
from bridge.gradients import loss_gradient, predict
from bridge.model import ModelAdapter
from bridge.norms import project_linf
from bridge.registry import attack


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
