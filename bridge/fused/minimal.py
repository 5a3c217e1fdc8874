"""The smallest epsilon at which PGD fools the model, image by image: bisection, in which who is fooled leaves the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.gradients import predicted
from bridge.model import ModelAdapter
from bridge.norms import per_image, project_l2, project_linf, uniform, unit_ball, unit_l2
from bridge.preflight import preflight
from bridge.run import counted
from bridge.state import frozen, seeded


@dataclass(frozen=True)
class Minimal:
    """`epsilon` (n,): the smallest size that fooled, 0 where the clean image is wrong already, infinite where none up to the
    largest did; `images`: what fooled at that size (else the clean ones); `forwards` and `backwards`: images through the model.
    """

    epsilon: Tensor
    images: Tensor
    forwards: int
    backwards: int


@torch.inference_mode(False)
def minimal_epsilon(
    model: nn.Module, x: Tensor, labels: Any, *, norm: Literal["linf", "l2"] = "linf", largest: float | None = None,
    tolerance: float | None = None, steps: int = 40, step_share: float = 0.1, seed: int = 0,
) -> Minimal:  # fmt: skip
    """The smallest epsilon, up to `tolerance`, at which PGD of `steps` steps of `step_share` * epsilon fools each image.

    Bisection between 0 and `largest` (defaults: 0.5 in Linf, 5 in L2, in pixel units; tolerance: a 256th of it). Every try
    starts from the same random point of the ball, scaled; as soon as an iterate fools, its image is done with this try, since
    only whether it can be fooled is asked (not so in `pgd`, whose definition is the last iterate). Assumes that a larger ball
    fools where a smaller one does. Raises ValueError for sizes that make no sense, and what `run` raises for bad input.
    """
    largest = {"linf": 0.5, "l2": 5.0}[norm] if largest is None else largest
    tolerance = largest / 256 if tolerance is None else tolerance
    if not 0 < tolerance < largest < float("inf") or steps < 1:
        raise ValueError(f"expected 0 < tolerance < largest and steps of at least 1, got {tolerance}, {largest} and {steps}")
    adapter, images, classes = preflight(model, x, labels)
    with torch.enable_grad(), frozen(adapter), counted(adapter) as passes, seeded(seed):
        noise = uniform(images, -1, 1) if norm == "linf" else unit_ball(images)
        with torch.no_grad():
            wrong = predicted(adapter(images)) != classes
        found, best = torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device), images.clone()
        found[wrong] = 0
        low, high = torch.zeros_like(found), torch.full_like(found, largest)
        active, size = (~wrong).nonzero()[:, 0], high.clone()  # the largest first: who withstands it leaves at once
        while len(active):
            tried, fooled = _pgd(adapter, images, classes, noise, active, size, norm, steps, step_share)
            winners, losers = active[fooled], active[~fooled]
            found[winners], high[winners], best[winners] = size[winners], size[winners], tried[fooled]
            low[losers] = size[losers]
            size = (low + high) / 2
            active = active[(high[active] - low[active] > tolerance) & found[active].isfinite()]
    return Minimal(found, best, passes.forwards, passes.backwards)


def _pgd(
    model: ModelAdapter, x: Tensor, labels: Tensor, noise: Tensor, active: Tensor, size: Tensor, norm: str, steps: int,
    step_share: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """PGD of the active images, each in its own ball, until it fools: the images, and whether they fool."""
    clean, radius = x[active], per_image(size[active], x)
    direction, project = (torch.sign, project_linf) if norm == "linf" else (unit_l2, project_l2)
    adversarial = (clean + radius * noise[active]).clamp(*model.bounds)
    fooled = torch.zeros(len(active), dtype=torch.bool, device=x.device)
    going = torch.arange(len(active), device=x.device)
    for step in range(steps + 1):
        here = adversarial[going].requires_grad_(step < steps)
        logits = model(here)
        done = predicted(logits) != labels[active[going]]
        fooled[going[done]] = True
        left = going[~done]
        if step == steps or not len(left):
            break
        loss = F.cross_entropy(logits[~done], labels[active[left]], reduction="sum")
        gradient = torch.autograd.grad(loss, here)[0][~done]
        moved = adversarial[left] + step_share * radius[left] * direction(gradient)
        adversarial[left] = project(moved, clean[left], radius[left]).clamp(*model.bounds)
        going = left
    return adversarial, fooled
