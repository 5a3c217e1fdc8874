"""Fast gradient value: one step along the gradient itself, scaled so that its largest pixel moves by epsilon."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bridge.attacks._descent import check, like_epsilon, sizes, towards
from bridge.gradients import loss_gradient
from bridge.model import ModelAdapter
from bridge.norms import TINY, linf_norm, per_image
from bridge.registry import attack
from bridge.shared import Shared


@attack("fast_gradient_value", paper="arXiv:1605.01775", norm="linf")
def fast_gradient_value(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float = 8 / 255, targeted: bool = False
) -> Tensor:
    """clip(x + epsilon * g / max|g|), g = d CE / d x, the maximum per image (Rozsa et al. 2016)."""
    check(epsilon)
    scaled = _scaled(loss_gradient(model, x, labels))
    return (x + towards(targeted) * (epsilon * scaled)).clamp(*model.bounds)


def _scaled(g: Tensor) -> Tensor:
    return g / per_image(linf_norm(g).clamp(min=TINY), g)


@fast_gradient_value.fused("loss_gradient")
def _(shared: Shared, *, epsilon: float | Sequence[float], targeted: bool) -> Tensor:
    scaled = towards(targeted) * _scaled(shared["loss_gradient"])
    return like_epsilon([(shared.x + e * scaled).clamp_(*shared.model.bounds) for e in sizes(epsilon)], epsilon)
