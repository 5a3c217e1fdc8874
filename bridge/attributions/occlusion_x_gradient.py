"""Occlusion and input x gradient in one map: what matters both locally and when it is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bridge.attributions import _parts
from bridge.attributions._parts import fast
from bridge.attributions._windows import half, requires_windows
from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.norms import linf_norm, per_image
from bridge.core.parameters import Baseline, Stride, Window
from bridge.core.registry import attribution, get
from bridge.core.shared import Shared
from bridge.core.tags import Cases


def _max_normalised(map_: Tensor) -> Tensor:
    largest = linf_norm(map_)
    return map_.abs() / per_image(largest.masked_fill(largest == 0, 1), map_)


def _mean(covered: Tensor, local: Tensor) -> Tensor:
    return (_max_normalised(covered) + _max_normalised(local)) / 2


def linear(w: Tensor, x: Tensor, **params: Any) -> Tensor:
    """Of both maps' closed forms."""
    covered = _parts.linear("occlusion", w, x, **params)
    return _mean(covered, _parts.linear("input_x_gradient", w, x))


@attribution(
    "occlusion_x_gradient",
    requires=requires_windows,
    linear=linear,
    quickest={"window": half, "stride": half},
    tiny={"window": 3, "stride": 2},
)
def occlusion_x_gradient(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    window: Window = None,
    stride: Stride = None,
    baseline: Baseline = 0.0,
) -> Tensor:
    """(|occlusion| / max + |input_x_gradient| / max) / 2, maxima per image; in [0, 1], shape of x.

    Robust to purely local gradients: a pixel counts fully only if the logit also falls when its
    window is covered. Parameters as in occlusion.
    """
    covered = get("occlusion")(model, x, target, window=window, stride=stride, baseline=baseline)
    return _mean(covered, get("input_x_gradient")(model, x, target))


def _passes(x: Tensor, **params: Any) -> tuple[int, int]:
    return fast("occlusion").passes(x, **params)


@occlusion_x_gradient.fused(
    "logits",
    "logit_gradient",
    passes=_passes,
    share=0.5,
    note="only what a window changes, where that pays",
)
def fused(shared: Shared, **params: Any) -> tuple[Tensor, dict[str, Any]]:
    covered, details = fast("occlusion").function(shared, **params)
    local = fast("input_x_gradient").function(shared)
    return _mean(covered, local), details


occlusion_x_gradient.cases = Cases(
    "(|occlusion| / max + |input_x_gradient| / max) / 2, each maximum over one image's absolute "
    "values; where it is 0 the map is 0",
    ({"window": (3, 3), "stride": (2, 2)}, {"window": (2, 2), "stride": (2, 2), "baseline": 0.5}),
)


# Deviations, the likeliest first.

Combine = Callable[[Tensor, Tensor], Tensor]


def combining(sentence: str, *, normalised: bool = True) -> Callable[[Combine], Combine]:
    """Register a deviation in how both maps, each over its largest value or not, make one."""

    def register(combine: Combine) -> Combine:
        @occlusion_x_gradient.variant(sentence)
        def deviating(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
            covered = get("occlusion")(model, x, target, **params)
            local = get("input_x_gradient")(model, x, target)
            if normalised:
                covered, local = _max_normalised(covered), _max_normalised(local)
            return combine(covered, local)

        return combine

    return register


@combining("it is the product of both maps, not their mean")
def product(covered: Tensor, local: Tensor) -> Tensor:
    return covered * local


@combining("it is the sum of both maps, not their mean")
def both(covered: Tensor, local: Tensor) -> Tensor:
    return covered + local


@combining("it is the occlusion alone")
def occlusion_alone(covered: Tensor, local: Tensor) -> Tensor:
    return covered


@combining("it is input x gradient alone")
def local_alone(covered: Tensor, local: Tensor) -> Tensor:
    return local


@combining("it is the larger of both maps")
def larger(covered: Tensor, local: Tensor) -> Tensor:
    return torch.maximum(covered, local)


@combining("it is the smaller of both maps")
def smaller(covered: Tensor, local: Tensor) -> Tensor:
    return torch.minimum(covered, local)


@combining("it is the geometric mean of both maps")
def geometric_mean(covered: Tensor, local: Tensor) -> Tensor:
    return (covered * local).sqrt()


@combining("the maps are not normalised", normalised=False)
def not_normalised(covered: Tensor, local: Tensor) -> Tensor:
    return (covered.abs() + local.abs()) / 2


def _with_sign(map_: Tensor) -> Tensor:
    return map_ / per_image(linf_norm(map_), map_)


@combining("the maps keep their sign", normalised=False)
def signed(covered: Tensor, local: Tensor) -> Tensor:
    return (_with_sign(covered) + _with_sign(local)) / 2


def _over_batch(map_: Tensor) -> Tensor:
    return map_.abs() / map_.abs().max()


@combining("the maps are normalised by the batch's maximum", normalised=False)
def by_batch(covered: Tensor, local: Tensor) -> Tensor:
    return (_over_batch(covered) + _over_batch(local)) / 2


def _over_sum(map_: Tensor) -> Tensor:
    return map_.abs() / map_.abs().sum((1, 2, 3), keepdim=True)


@combining("the maps are normalised by their sum", normalised=False)
def by_sum(covered: Tensor, local: Tensor) -> Tensor:
    return (_over_sum(covered) + _over_sum(local)) / 2


@occlusion_x_gradient.variant("it takes the plain gradient instead of input x gradient")
def with_gradient(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    covered = get("occlusion")(model, x, target, **params)
    return _mean(covered, input_gradient(model, x, target))
