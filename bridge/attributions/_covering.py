"""Occlusion in parts that people change: cover, windows, what is measured, how it makes a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bridge.attributions._baseline import baseline_images
from bridge.attributions._windows import Area, areas, window_and_stride
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.tags import Function

Params = dict[str, Any]  # window, stride and baseline
Windows = Callable[[Tensor, Params], list[Area]]
Measure = Callable[[Tensor, Tensor], Tensor]  # clean and covered score, (n,) each
Mapped = Callable[[Tensor, list[Area], list[Tensor]], Tensor]


def unclipped(x: Tensor, params: Params) -> list[Area]:
    """The windows that lie within the image."""
    height, width = x.shape[2:]
    windows = areas(x, params["window"], params["stride"])
    return [a for a in windows if a[-2].stop <= height and a[-1].stop <= width]


def to_the_edge(x: Tensor, params: Params) -> list[Area]:
    """Windows from each multiple of the stride within the image, whatever they still cover."""
    (wh, ww), (sh, sw) = window_and_stride(x, params["window"], params["stride"])
    rows, columns = range(0, x.shape[2], sh), range(0, x.shape[3], sw)
    return [(..., slice(r, r + wh), slice(c, c + ww)) for r in rows for c in columns]


def _all(x: Tensor, params: Params) -> list[Area]:
    return list(areas(x, params["window"], params["stride"]))


def _fall(clean: Tensor, covered: Tensor) -> Tensor:
    return clean - covered


def _rise(clean: Tensor, covered: Tensor) -> Tensor:
    return covered - clean


def _covered_score(clean: Tensor, covered: Tensor) -> Tensor:
    return covered


def _what_is_left(clean: Tensor, covered: Tensor) -> Tensor:
    return 1 - covered


def _positive_fall(clean: Tensor, covered: Tensor) -> Tensor:
    return (clean - covered).relu()


def _absolute_fall(clean: Tensor, covered: Tensor) -> Tensor:
    return (clean - covered).abs()


def _relative_fall(clean: Tensor, covered: Tensor) -> Tensor:
    return (clean - covered) / clean


def _averaged(x: Tensor, windows: list[Area], values: list[Tensor]) -> Tensor:
    """total / count over the windows of a pixel."""
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    for area, value in zip(windows, values, strict=True):
        total[area] += value[:, None, None, None]
        count[area] += 1
    return total / count.clamp(min=1)


def _added(x: Tensor, windows: list[Area], values: list[Tensor]) -> Tensor:
    """total over the windows of a pixel."""
    total = torch.zeros_like(x)
    for area, value in zip(windows, values, strict=True):
        total[area] += value[:, None, None, None]
    return total


def _overwritten(x: Tensor, windows: list[Area], values: list[Tensor]) -> Tensor:
    """found[window] = value, window after window."""
    found = torch.zeros_like(x)
    for area, value in zip(windows, values, strict=True):
        found[area] = value[:, None, None, None].expand_as(found[area])
    return found


def _largest(x: Tensor, windows: list[Area], values: list[Tensor]) -> Tensor:
    """max over the windows of a pixel."""
    found = torch.zeros_like(x)
    for area, value in zip(windows, values, strict=True):
        found[area] = torch.maximum(found[area], value[:, None, None, None])
    return found


def _one_a_window(x: Tensor, windows: list[Area], values: list[Tensor]) -> Tensor:
    """one value a window."""
    rows = len({area[-2].start for area in windows})
    return torch.stack(values, 1).view(len(x), 1, rows, -1)


def _channel_means(model: ModelAdapter, x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True).expand_as(x)


def _image_means(model: ModelAdapter, x: Tensor) -> Tensor:
    return x.mean((1, 2, 3), keepdim=True).expand_as(x)


def _batch_mean(model: ModelAdapter, x: Tensor) -> Tensor:
    return x.mean().expand_as(x)


def _normalised_zero(model: ModelAdapter, x: Tensor) -> Tensor | None:
    return None if model.mean is None else model.mean.to(x).expand_as(x)


COVERS: dict[str, Callable[[ModelAdapter, Tensor], Tensor | None] | None] = {
    "": None,
    "it covers with the image's channel means": _channel_means,
    "it covers with each image's mean": _image_means,
    "it covers with the batch's mean": _batch_mean,
    "it covers with zero after normalisation (the mean)": _normalised_zero,
}
WINDOWS: dict[str, Windows] = {
    "": _all,
    "it skips the clipped windows at the edge": unclipped,
    "its windows start up to the image's edge": to_the_edge,
}
MEASURES: dict[str, Measure] = {
    "": _fall,
    "it takes covered - clean: the sign is reversed": _rise,
    "it draws the covered score itself, not its fall": _covered_score,
    "it draws 1 - the covered score": _what_is_left,
    "it keeps the positive falls only": _positive_fall,
    "it takes the absolute fall": _absolute_fall,
    "it divides the fall by the clean score": _relative_fall,
}
MAPS: dict[str, Mapped] = {
    "": _averaged,
    "it sums over the windows instead of averaging": _added,
    "later windows overwrite earlier ones": _overwritten,
    "the window of the largest fall counts": _largest,
    "it is one value a window, not as large as the image": _one_a_window,
}


def combined(words: Sequence[str]) -> Function:
    """The method that these words of COVERS, WINDOWS, MEASURES and MAPS say together."""
    covering, windows = COVERS[words[0]], WINDOWS[words[1]]
    measure, mapped = MEASURES[words[2]], MAPS[words[3]]

    def deviating(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor | None:
        there = windows(x, params)
        cover = baseline_images(x, params["baseline"]) if covering is None else covering(model, x)
        if cover is None:
            return None
        occluded = x.repeat(len(there), 1, 1, 1).view(len(there), *x.shape)
        for index, area in enumerate(there):
            occluded[index][area] = cover[area]
        with torch.no_grad():
            clean = target_logits(model(x), target)
            logits = model(occluded.flatten(0, 1)).view(len(there), len(x), -1)
        values = [measure(clean, target_logits(each, target)) for each in logits]
        return mapped(x, there, values)

    return deviating
