"""Occlusion: how much the target's logit falls when a window is covered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from bridge.attributions._baseline import baseline_images
from bridge.attributions._captum import as_baseline
from bridge.attributions._covering import (
    COVERS,
    MAPS,
    MEASURES,
    WINDOWS,
    Params,
    combined,
    unclipped,
)
from bridge.attributions._covering import to_the_edge as every_start
from bridge.attributions._windows import (
    Area,
    Pair,
    areas,
    corners,
    half,
    requires_windows,
    seen_windows,
    window_and_stride,
)
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Baseline, Stride, Window
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.core.tags import AN_IMAGE, Cases, Trap
from bridge.fused.occlusion import drops_of_windows, mean_over_windows


def linear(
    w: Tensor, x: Tensor, *, window: Pair | None, stride: Pair | None, baseline: float | Tensor
) -> Tensor:
    """On logits = w x the logit falls by the sum of w (x - baseline) over the window."""
    falls = (w * (x - baseline)).sum(1, keepdim=True)
    total, count = torch.zeros_like(falls), torch.zeros_like(falls)
    for area in areas(x, window, stride):
        total[area] += falls[area].sum((2, 3), keepdim=True)
        count[area] += 1
    return (total / count).expand_as(x)


def observed(
    asked: Sequence[Tensor], looked: Sequence[Tensor], x: Tensor, output: Tensor
) -> dict[str, list[Any]]:
    """The window, the stride and the cover of the images that differ from x in a rectangle."""
    return seen_windows([*looked, *asked], x)


@attribution(
    "occlusion",
    paper="arXiv:1311.2901",
    requires=requires_windows,
    gradient=False,
    axioms=("implementation invariance", "linearity"),
    linear=linear,
    quickest={"window": half, "stride": half},
    tiny={"window": 3, "stride": 2},
    observed=observed,
)
def occlusion(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    window: Window = None,
    stride: Stride = None,
    baseline: Baseline = 0.0,
) -> Tensor:
    """mean of logit_t(x) - logit_t(x with the window covered) over a pixel's windows, shape of x.

    A window spans all channels and slides by `stride` (pixels as int or (h, w); default: a window
    of an eighth of the shorter side, half of it as stride). ceil((D - w) / s) + 1 windows an axis,
    the last one clipped at the border; a stride beyond the window is refused. `baseline`, in pixel
    units, is a number or a tensor that broadcasts to x (Zeiler and Fergus 2013).

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=1)
    >>> found = bridge.run("occlusion", model, x, labels, window=14, stride=7)
    >>> tuple(found.output.shape), found.forwards
    ((1, 1, 28, 28), 10)
    """
    cover = baseline_images(x, baseline)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    with torch.no_grad():
        score = target_logits(model(x), target)
        for area in areas(x, window, stride):
            occluded = x.clone()
            occluded[area] = cover[area]
            drop = score - target_logits(model(occluded), target)
            total[area] += drop[:, None, None, None]
            count[area] += 1
    return total / count


def _passes(x: Tensor, *, window: Pair | None, stride: Pair | None, **_: Any) -> tuple[int, int]:
    rows, columns = corners(x, window, stride)
    return len(rows) * len(columns) + 2, 0


@occlusion.fused(
    "logits", passes=_passes, note="only what a window changes, where that pays", share=0.5
)
def fused(
    shared: Shared, *, window: Pair | None, stride: Pair | None, baseline: float | Tensor
) -> tuple[Tensor, dict[str, Any]]:
    """Windows in batches; where the network can be traced, only what a window changes, by layer."""
    x = shared.x
    covers, moves = window_and_stride(x, window, stride)
    tops, lefts = map(list, corners(x, window, stride))
    cover = baseline_images(x, baseline)
    drops, details = drops_of_windows(shared, tops, lefts, covers, moves, cover)
    return mean_over_windows(drops, tops, lefts, covers, x).expand_as(x).contiguous(), details


@occlusion.twin("captum")
def captum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    window: Pair | None,
    stride: Pair | None,
    baseline: float | Tensor,
) -> Tensor:
    from captum.attr import Occlusion

    covers, moves = window_and_stride(x, window, stride)
    channels = x.shape[1]
    return Occlusion(model).attribute(
        x,
        sliding_window_shapes=(channels, *covers),
        strides=(channels, *moves),
        baselines=as_baseline(baseline, x),
        target=target,
        perturbations_per_eval=1,
        show_progress=False,
    )


# Windows that fit, that are clipped, that overlap; a baseline that is an image.
COVERED: tuple[dict[str, Any], ...] = (
    {"window": (3, 3), "stride": (2, 2)},
    {"window": (4, 3), "stride": (3, 2), "baseline": 0.5},
    {"window": (2, 2), "stride": (2, 2), "baseline": AN_IMAGE},
)
occlusion.cases = Cases(
    "windows start at 0, s, 2 s, ...: ceil((D - w) / s) + 1 an axis, the last clipped at the "
    "border; all channels of a window are covered with the baseline; each pixel: the mean of "
    "logit_target(x) - logit_target(covered x) over the windows that cover it, the same in every "
    "channel",
    COVERED,
    traps={
        "window-clipped": Trap(
            "the last window is clipped at the border",
            (
                "it skips the clipped windows at the edge",
                "it moves the last window inside instead of clipping it",
            ),
        ),
        "mean-over-windows": Trap(
            "overlapping windows are averaged",
            ("it sums over the windows instead of averaging",),
        ),
    },
)


# Deviations, the likeliest first.


def _falls(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    params: Params,
    *,
    covered: Iterable[Area] | None = None,
    cover: Tensor | None = None,
    score: Callable[[Tensor, Tensor], Tensor] = target_logits,
    change: Callable[[Tensor, Tensor], Tensor] | None = None,
    marks: Callable[[Area], Area] | None = None,
) -> tuple[Tensor, Tensor]:
    """The falls summed over what each window marks, and how many marked a pixel.

    By default all windows are covered with the baseline, and marked; `change(fall, clean)` turns
    the fall of each image, (n,), into what is summed.
    """
    windows = areas(x, params["window"], params["stride"]) if covered is None else covered
    cover = baseline_images(x, params["baseline"]) if cover is None else cover
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    with torch.no_grad():
        clean = score(model(x), target)
        for area in windows:
            occluded = x.clone()
            occluded[area] = cover[area]
            fall = clean - score(model(occluded), target)
            fall = fall if change is None else change(fall, clean)
            marked = area if marks is None else marks(area)
            total[marked] += fall[:, None, None, None]
            count[marked] += 1
    return total, count


def _mean_fall(model: ModelAdapter, x: Tensor, target: Tensor, *args: Any, **how: Any) -> Tensor:
    total, count = _falls(model, x, target, *args, **how)
    return total / count.clamp(min=1)


TOPS = "ceil((H - w) / s) + 1 tops, the last window clipped"


@occlusion.variant(
    "it sums over the windows instead of averaging",
    yours="total",
    ours="total / count",
)
def summed(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _falls(model, x, target, params)[0]


@occlusion.variant(
    "it skips the clipped windows at the edge",
    yours="tops in range(0, H - w + 1, s)",
    ours=TOPS,
)
def edge_skipped(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _mean_fall(model, x, target, params, covered=unclipped(x, params))


@occlusion.variant("it skips the clipped windows at the edge and sums instead of averaging")
def edge_skipped_and_summed(
    model: ModelAdapter, x: Tensor, target: Tensor, **params: Any
) -> Tensor:
    return _falls(model, x, target, params, covered=unclipped(x, params))[0]


@occlusion.variant(
    "its windows start up to the image's edge, and more of them are clipped",
    yours="tops in range(0, H, s)",
    ours=TOPS,
)
def to_the_edge(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _mean_fall(model, x, target, params, covered=every_start(x, params))


@occlusion.variant("its windows start up to the image's edge, and it sums instead of averaging")
def to_the_edge_summed(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _falls(model, x, target, params, covered=every_start(x, params))[0]


@occlusion.variant("it skips the last window of each row and column")
def last_skipped(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    height, width = x.shape[2:]
    kept = [a for a in unclipped(x, params) if a[-2].stop < height and a[-1].stop < width]
    return _mean_fall(model, x, target, params, covered=kept)


@occlusion.variant("it moves the last window inside instead of clipping it")
def moved_inside(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    (height, width), _ = window_and_stride(x, params["window"], params["stride"])
    rows, columns = corners(x, params["window"], params["stride"])
    moved: list[Area] = []
    for row in rows:
        for column in columns:
            top, left = min(row, x.shape[2] - height), min(column, x.shape[3] - width)
            moved.append((..., slice(top, top + height), slice(left, left + width)))
    return _mean_fall(model, x, target, params, covered=moved)


def _relative(fall: Tensor, clean: Tensor) -> Tensor:
    return fall / clean


@occlusion.variant(
    "it divides the fall by the clean logit",
    yours="(clean - covered) / clean",
    ours="clean - covered",
)
def relative(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _mean_fall(model, x, target, params, change=_relative)


def _size(fall: Tensor, clean: Tensor) -> Tensor:
    return fall.abs()


@occlusion.variant("it takes the absolute fall", yours="|clean - covered|", ours="clean - covered")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _mean_fall(model, x, target, params, change=_size)


def _probability(logits: Tensor, target: Tensor) -> Tensor:
    return target_logits(logits.softmax(1), target)


@occlusion.variant(
    "it measures the fall of the probability instead of the logit",
    yours="softmax(logits)_t",
    ours="logit_t",
)
def of_probability(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _mean_fall(model, x, target, params, score=_probability)


@occlusion.variant("it covers one channel at a time")
def by_channel(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    windows = [
        (slice(None), slice(channel, channel + 1), *area[-2:])
        for area in areas(x, params["window"], params["stride"])
        for channel in range(x.shape[1])
    ]
    return _mean_fall(model, x, target, params, covered=windows)


def _first_pixel(area: Area) -> Area:
    rows, columns = area[-2:]
    return ..., slice(rows.start, rows.start + 1), slice(columns.start, columns.start + 1)


@occlusion.variant("it marks the window's first pixel only")
def first_pixel(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _mean_fall(model, x, target, params, marks=_first_pixel)


@occlusion.variant(
    "it covers with the image's channel means",
    yours="cover = x.mean((2, 3), keepdim=True)",
    ours="cover = baseline",
)
def with_channel_means(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    cover = x.mean((2, 3), keepdim=True).expand_as(x)
    return _mean_fall(model, x, target, params, cover=cover)


@occlusion.variant(
    "it covers with the batch's mean",
    yours="cover = x.mean()",
    ours="cover = baseline",
)
def with_batch_mean(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return _mean_fall(model, x, target, params, cover=x.mean().expand_as(x))


for _value in (0.0, 0.5, 1.0):
    occlusion.variant(f"its baseline is always {_value:g}", baseline=_value)(occlusion.reference)
occlusion.variant("its stride is always 1", stride=1)(occlusion.reference)


@occlusion.variant("its stride is the window")
def without_overlap(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    return occlusion(model, x, target, **{**params, "stride": params["window"]})


# Only among several deviations at once.
_TABLES: tuple[Mapping[str, Any], ...] = (COVERS, WINDOWS, MEASURES, MAPS)
_alone = {"", *(variant.sentence for variant in occlusion.variants)}
for _words in product(COVERS, WINDOWS, MEASURES, MAPS):
    _sentence = "; and ".join(text for text in _words if text)
    if _sentence not in _alone:
        _changed = [(table[w], table[""]) for w, table in zip(_words, _TABLES, strict=True) if w]
        _yours, _ours = _changed[0] if len(_changed) == 1 else (None, None)
        occlusion.variant(
            _sentence, rare=True, asks=" ".join(_words[:2]), yours=_yours, ours=_ours
        )(combined(_words))
