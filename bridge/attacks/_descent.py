"""The one loop behind the iterated attacks, and the checks that all attacks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.gradients import loss_gradient
from bridge.model import ModelAdapter

Direction = Callable[[Tensor], Tensor]
Project = Callable[[Tensor, Tensor, float], Tensor]


def towards(targeted: bool) -> float:
    """+1 climbs the loss of the true label, -1 descends the loss of the class to reach."""
    return -1.0 if targeted else 1.0


def check(epsilon: float | None, steps: int = 1, step_size: float | None = None, restarts: int = 1) -> None:
    """Raise ValueError for a budget that makes no sense (Foolbox accepts a negative epsilon)."""
    if epsilon is not None and not 0 <= epsilon < float("inf"):
        raise ValueError(f"epsilon is a perturbation's size in pixel units and must be 0 or more, got {epsilon}")
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps and restarts must be at least 1, got {steps} and {restarts}")
    if step_size is not None and not 0 <= step_size < float("inf"):
        raise ValueError(f"step_size is absolute, in pixel units, and must be 0 or more, got {step_size}")


def sizes(epsilon: float | Sequence[float], steps: int = 1, step_size: float | None = None, restarts: int = 1) -> list[float]:
    """The epsilons of a fused run, which takes one or several at once; checked."""
    epsilons = [float(e) for e in epsilon] if isinstance(epsilon, Sequence) else [epsilon]
    if not epsilons:
        raise ValueError("epsilon is an empty list: pass one size, or several")
    for e in epsilons:
        check(e, steps, step_size, restarts)
    return epsilons


def like_epsilon(images: Sequence[Tensor] | Tensor, epsilon: float | Sequence[float]) -> Tensor:
    """The images of each epsilon as the run is answered: with a leading axis where several epsilons were asked for."""
    return torch.stack(list(images)) if isinstance(epsilon, Sequence) else images[0]


def projected_descent(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    start: Tensor,
    *,
    epsilon: float,
    steps: int,
    step_size: float,
    targeted: bool,
    direction: Direction,
    project: Project,
) -> Tensor:
    """x_{k+1} = clip(project(x_k +- step_size * direction(d CE / d x_k))), `steps` times from `start`; the last iterate.

    Project first, then clip; no early stop, no best iterate.
    """
    adversarial = start
    for _ in range(steps):
        step = towards(targeted) * (step_size * direction(loss_gradient(model, adversarial, labels)))
        adversarial = project(adversarial + step, x, epsilon).clamp(*model.bounds)
    return adversarial


def worst_of(model: ModelAdapter, labels: Tensor, candidates: list[Tensor], *, targeted: bool) -> Tensor:
    """For each image the candidate that fools the model, and among equals the one of largest loss (least if targeted)."""
    if len(candidates) == 1:
        return candidates[0]
    scores = []
    with torch.no_grad():
        for images in candidates:
            logits = model(images)
            loss = towards(targeted) * F.cross_entropy(logits, labels, reduction="none")
            fooled = (logits.argmax(1) == labels) == targeted
            # Fooled candidates come before all others: shift their losses above any loss seen.
            scores.append(torch.stack([fooled.to(loss.dtype), loss]))
    flags, losses = torch.stack(scores).unbind(1)
    best = (losses.masked_fill(flags < flags.amax(0), -torch.inf)).argmax(0)
    return torch.stack(candidates)[best, torch.arange(len(labels), device=best.device)]
