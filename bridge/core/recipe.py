"""A gradient attack as a recipe: every detail that it decides is a field.

An attack's `recipe` tag states its own; diagnosis changes one or several fields and looks whether
the result is what somebody's code returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from bridge.core.norms import project_linf

Direction = Callable[[Tensor], Tensor]
Project = Callable[[Tensor, Tensor, Any], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """CE(logits, label) of each image, (n,)."""
    return F.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True)
class Recipe:
    """x_{k+1} = clip(project(x_k + step * direction(d loss / d x_k))), `steps` times from `start`.

    `epsilon` and `step` are numbers, or tensors that broadcast to the images. `direction(g)` turns
    the gradient into a step, `project(moved, center, epsilon)` returns to the ball (None: no ball),
    `loss(logits, labels)` is climbed (targeted: descended), `clip` are the bounds (None: none).
    `momentum` decays the sum of the gradients, each divided by `momentum_norm(g)` where given.
    """

    epsilon: Any
    step: Any
    steps: int
    start: Tensor
    direction: Direction
    targeted: bool
    clip: tuple[Any, Any] | None
    project: Project | None = project_linf
    loss: Loss = cross_entropy
    momentum: float = 0.0
    momentum_norm: Direction | None = None
