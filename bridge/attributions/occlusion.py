"""Occlusion: how much the target's logit falls when a window is covered."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bridge.fused.occlusion import drops_of_windows, mean_over_windows
from bridge.gradients import target_logits
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.shared import Shared

Pair = int | tuple[int, int]


def window_and_stride(x: Tensor, window: Pair | None, stride: Pair | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """(h, w) of window and stride; by default an eighth of the shorter side, and half a window: about 200 windows."""
    h, w = x.shape[2:]
    covers = _pair(max(1, round(min(h, w) / 8)) if window is None else window)
    moves = (max(1, covers[0] // 2), max(1, covers[1] // 2)) if stride is None else _pair(stride)
    if min(*covers, *moves) < 1:
        raise ValueError(f"window and stride must be positive, got {window} and {stride}")
    if covers[0] > h or covers[1] > w:
        raise ValueError(f"the window {covers} is larger than the image {(h, w)}")
    if moves[0] > covers[0] or moves[1] > covers[1]:
        raise ValueError(f"the stride {moves} is larger than the window {covers}: pixels between would never be covered")
    return covers, moves


def _pair(value: Pair) -> tuple[int, int]:
    """An int means both axes."""
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise ValueError(f"window and stride are an int or (h, w), got {value}")
    return int(value[0]), int(value[1])


def starts(side: int, window: int, stride: int) -> range:
    """First pixels of the windows along one axis: ceil((side - window) / stride) + 1 of them, the last one clipped."""
    return range(0, (-(-(side - window) // stride) + 1) * stride, stride)


@attribution("occlusion", paper="arXiv:1311.2901")
def occlusion(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    window: Pair | None = None,
    stride: Pair | None = None,
    baseline: float | Tensor = 0.0,
) -> Tensor:
    """mean of logit_t(x) - logit_t(x with the window covered) over the windows that cover a pixel, same shape as x.

    A window spans all channels and slides by `stride` (ints or (h, w); default: a window of an eighth of the shorter
    side, half of it as stride). ceil((D - w) / s) + 1 windows an axis, the last one clipped at the border. `baseline`, in
    pixel units, is a number or a tensor that broadcasts to x (Zeiler and Fergus 2013).
    """
    (wh, ww), (sh, sw) = window_and_stride(x, window, stride)
    height, width = x.shape[2:]
    cover = torch.broadcast_to(torch.as_tensor(baseline, dtype=x.dtype, device=x.device), x.shape)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    with torch.no_grad():
        score = target_logits(model(x), target)
        for top in starts(height, wh, sh):
            for left in starts(width, ww, sw):
                area = (..., slice(top, top + wh), slice(left, left + ww))
                occluded = x.clone()
                occluded[area] = cover[area]
                drop = score - target_logits(model(occluded), target)
                total[area] += drop[:, None, None, None]
                count[area] += 1
    return total / count


@occlusion.fused("logits", passes=lambda x, *, window, stride, **_: (windows(x, window, stride) + 2, 0))
def _(shared: Shared, *, window: Pair | None, stride: Pair | None, baseline: float | Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Windows in batches; where the network can be traced, only what a window changes is computed again, layer by layer."""
    x = shared.x
    covers, moves = window_and_stride(x, window, stride)
    cover = torch.broadcast_to(torch.as_tensor(baseline, dtype=x.dtype, device=x.device), x.shape)
    tops, lefts = (list(starts(side, *pair)) for side, pair in zip(x.shape[2:], zip(covers, moves, strict=True), strict=True))
    drops, details = drops_of_windows(shared, tops, lefts, covers, moves, cover)
    return mean_over_windows(drops, tops, lefts, covers, x).expand_as(x).contiguous(), details


def windows(x: Tensor, window: Pair | None, stride: Pair | None) -> int:
    """How many windows cover an image."""
    (wh, ww), (sh, sw) = window_and_stride(x, window, stride)
    return len(starts(x.shape[2], wh, sh)) * len(starts(x.shape[3], ww, sw))


@occlusion.twin("captum")
def _(
    model: ModelAdapter, x: Tensor, target: Tensor, *, window: Pair | None, stride: Pair | None, baseline: float | Tensor
) -> Tensor:
    from captum.attr import Occlusion

    covers, moves = window_and_stride(x, window, stride)
    channels = x.shape[1]
    if isinstance(baseline, Tensor):
        baseline = baseline.to(x).expand_as(x)
    return Occlusion(model).attribute(
        x,
        sliding_window_shapes=(channels, *covers),
        strides=(channels, *moves),
        baselines=baseline,
        target=target,
        perturbations_per_eval=1,
        show_progress=False,
    )
