"""Occlusion and input x gradient in one map: what matters both locally and when it is gone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.model import ModelAdapter
from bridge.norms import linf_norm, per_image
from bridge.registry import attribution, get
from bridge.shared import Shared


def _max_normalised(map_: Tensor) -> Tensor:
    largest = linf_norm(map_)
    return map_.abs() / per_image(largest.masked_fill(largest == 0, 1), map_)


@attribution("occlusion_x_gradient")
def occlusion_x_gradient(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    window: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    baseline: float | Tensor = 0.0,
) -> Tensor:
    """(|occlusion| / max + |input_x_gradient| / max) / 2, maxima per image; in [0, 1], same shape as x.

    Robust to purely local gradients: a pixel counts fully only if the logit also falls when its window is covered.
    Parameters as in occlusion.
    """
    covered = get("occlusion")(model, x, target, window=window, stride=stride, baseline=baseline)
    local = get("input_x_gradient")(model, x, target)
    return (_max_normalised(covered) + _max_normalised(local)) / 2


@occlusion_x_gradient.fused("logits", "logit_gradient", passes=lambda x, **params: get("occlusion").fast[0].passes(x, **params))
def _(
    shared: Shared,
    *,
    window: int | tuple[int, int] | None,
    stride: int | tuple[int, int] | None,
    baseline: float | Tensor,
) -> tuple[Tensor, dict[str, Any]]:
    covered, details = get("occlusion").fast[0].function(shared, window=window, stride=stride, baseline=baseline)
    local = get("input_x_gradient").fast[0].function(shared)
    return (_max_normalised(covered) + _max_normalised(local)) / 2, details
