"""Fast gradient value: one step along the gradient itself, its largest pixel moved by epsilon."""

from __future__ import annotations

from torch import Tensor

from bridge.attacks._cases import BOTH_WAYS, LOSS, OWN_NORMS, each_with
from bridge.attacks._descent import like_epsilon, one_step, towards
from bridge.core.gradients import loss_gradient
from bridge.core.method import sizes
from bridge.core.model import ModelAdapter
from bridge.core.norms import unit_linf
from bridge.core.parameters import LinfSize
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases


@attack(
    "fast_gradient_value",
    paper="arXiv:1605.01775",
    norm="linf",
    axioms=("ascent",),
    tiny={"epsilon": 0.1},
    recipe=one_step(unit_linf),
)
def fast_gradient_value(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: LinfSize = 8 / 255,
    targeted: bool = False,
) -> Tensor:
    """clip(x + epsilon * g / max|g|), g = d CE / d x, the maximum per image (Rozsa et al. 2016)."""
    step = epsilon * unit_linf(loss_gradient(model, x, labels))
    return (x + towards(targeted) * step).clamp(*model.bounds)


@fast_gradient_value.fused("loss_gradient")
def fused(shared: Shared, *, epsilon: float | list[float], targeted: bool) -> Tensor:
    scaled = towards(targeted) * unit_linf(shared["loss_gradient"])
    moved = [(shared.x + e * scaled).clamp_(*shared.model.bounds) for e in sizes(epsilon)]
    return like_epsilon(moved, epsilon)


fast_gradient_value.cases = Cases(
    LOSS + "clip(x + epsilon * g / max(max|g|, 1e-12)) to [0, 1], the maximum over each image",
    each_with({"epsilon": 0.125}, BOTH_WAYS),
    traps=OWN_NORMS,
)
