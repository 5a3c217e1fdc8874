"""Panels: images, their attributions, their adversarials and what changed, side by side in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bridge.visualize.heatmap import as_rgb, heatmap, limit

MAX_IMAGES = 16


def panels(
    path: str | Path,
    x: Tensor,
    titles: Sequence[str],
    attributions: Mapping[str, Tensor],
    adversarials: Mapping[str, Tensor],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    captions: Mapping[str, Sequence[str]] | None = None,
    dpi: int = 100,
) -> Path:
    """Write a PNG with a column an image: the images, a row an attribution, and two rows an attack. Returns its path.

    `titles`: one an image. `attributions`: name -> (n, c, h, w). `adversarials`: name -> images; below each the
    perturbation. `captions`: attack -> one text an image. Heatmaps: channels summed, blue negative, red positive, a row
    shares one scale, cut at its 98th percentile. Perturbations likewise.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = min(len(x), MAX_IMAGES)
    x = x[:count]
    size = (int(x.shape[2]), int(x.shape[3]))
    images = [_Row("image", as_rgb(x, bounds), titles=titles[:count])]
    for name, attribution in attributions.items():
        images.append(_signed(name.replace("_", " "), heatmap(attribution[:count], size)))
    for name, adversarial in adversarials.items():
        above = captions[name][:count] if captions and name in captions else ()
        images.append(_Row(name.replace("_", " "), as_rgb(adversarial[:count], bounds), titles=above))
        images.append(_signed("change", heatmap(adversarial[:count] - x, size), show_scale=True))

    cell, title, left = 0.92, 0.16, 2.0  # inches
    tall = cell * size[0] / size[1]
    heights = [tall + title * bool(row.titles) for row in images]
    width, height = left + count * cell, sum(heights) + 0.04 * len(images) + 0.05
    figure = Figure(figsize=(width, height), dpi=dpi)  # no pyplot: nothing global, and no display needed
    FigureCanvasAgg(figure)
    top = height - 0.02
    for row, needed in zip(images, heights, strict=True):
        top -= needed + 0.04
        axes = figure.add_axes((left / width, top / height, 1 - left / width, tall / height))
        axes.imshow(
            _mosaic(row.pictures), cmap="bwr", vmin=-row.largest, vmax=row.largest, interpolation="nearest", aspect="auto"
        )
        axes.set_axis_off()
        axes.text(-0.006, 0.5, row.label, transform=axes.transAxes, ha="right", va="center", fontsize=9)
        for column, text in enumerate(row.titles):
            axes.text((column + 0.5) / count, 1.02, text, transform=axes.transAxes, ha="center", va="bottom", fontsize=7.5)
    figure.savefig(path)
    return Path(path)


@dataclass(frozen=True)
class _Row:
    """Pictures side by side, (n, h, w) on a blue-white-red scale up to `largest` or (n, h, w, 3) as they are."""

    label: str
    pictures: Tensor
    largest: float = 1.0
    titles: Sequence[str] = ()


def _signed(label: str, maps: Tensor, show_scale: bool = False) -> _Row:
    largest = limit(maps)
    return _Row(f"{label}\n(full colour {largest:.3f})" if show_scale else label, maps.cpu(), largest)


def _mosaic(pictures: Tensor) -> np.ndarray:
    """The pictures in one row with a gap around each: nan, which matplotlib leaves blank, or white."""
    gap = max(1, pictures.shape[2] // 28)
    blank = 1.0 if pictures.ndim == 4 else torch.nan
    n, h, w = pictures.shape[:3]
    canvas = torch.full((h + gap, n * (w + gap), *pictures.shape[3:]), blank)
    for index, picture in enumerate(pictures):
        left = index * (w + gap) + gap // 2
        canvas[gap // 2 : gap // 2 + h, left : left + w] = picture
    return canvas.numpy()
