"""Panels: images, their attributions, their adversarials and what changed, in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bridge.visualize.heatmap import as_rgb, heatmap, limit

MAX_IMAGES = 16
# In inches: the width of a picture, the room for a line of text, for the names, between two rows.
CELL, TITLE, LEFT, GAP = 0.92, 0.16, 2.0, 0.04


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
    """Write a PNG or SVG with a column an image, at most 16; returns `path`.

    Rows: the images `x` (n, c, h, w) within `bounds`, with one of `titles` above each; a row for
    each of `attributions`, by name (n, c, h', w'); two rows for each of `adversarials`, by name
    (n, c, h, w): the images, with one of `captions[name]` above each, and what was changed.

    Heatmaps and changes: channels summed, blue negative, red positive; a row shares one scale, cut
    at its 98th percentile.
    """
    count = min(len(x), MAX_IMAGES)
    size = (int(x.shape[2]), int(x.shape[3]))
    rows = [_Row("image", as_rgb(x[:count], bounds), titles=titles[:count])]
    for name, attribution in attributions.items():
        rows.append(_signed(_label(name), heatmap(attribution[:count], size)))
    for name, adversarial in adversarials.items():
        above = captions[name][:count] if captions and name in captions else ()
        rows.append(_Row(_label(name), as_rgb(adversarial[:count], bounds), titles=above))
        rows.append(
            _signed("change", heatmap(adversarial[:count] - x[:count], size), show_scale=True)
        )
    _figure(rows, count, tall=CELL * size[0] / size[1], dpi=dpi).savefig(path)
    return Path(path)


@dataclass(frozen=True)
class _Row:
    """Pictures side by side: (n, h, w) blue to red up to `largest`, or (n, h, w, 3) as they are."""

    label: str
    pictures: Tensor
    largest: float = 1.0
    titles: Sequence[str] = ()


def _label(name: str) -> str:
    return name.replace("_", " ")


def _signed(label: str, maps: Tensor, show_scale: bool = False) -> _Row:
    """Maps on one scale, which the label says if it is to be read."""
    largest = limit(maps)
    label = f"{label}\n(full colour {largest:.3f})" if show_scale else label
    return _Row(label, maps.cpu(), largest)


def _figure(rows: Sequence[_Row], count: int, *, tall: float, dpi: int) -> Any:
    """The rows below each other, each picture `tall` inches high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [tall + TITLE * bool(row.titles) for row in rows]
    width, height = LEFT + count * CELL, sum(heights) + GAP * len(rows) + 0.05
    figure = Figure(figsize=(width, height), dpi=dpi)  # no pyplot: nothing global, no display
    FigureCanvasAgg(figure)
    top = height - 0.02
    for row, needed in zip(rows, heights, strict=True):
        top -= needed + GAP
        _draw(row, figure.add_axes((LEFT / width, top / height, 1 - LEFT / width, tall / height)))
    return figure


def _draw(row: _Row, axes: Any) -> None:
    """One row: its name to the left, its pictures, a title above each."""
    axes.imshow(
        _mosaic(row.pictures),
        cmap="bwr",
        vmin=-row.largest,
        vmax=row.largest,
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_axis_off()
    where: dict[str, Any] = {"transform": axes.transAxes}
    axes.text(-0.006, 0.5, row.label, ha="right", va="center", fontsize=9, **where)
    for column, text in enumerate(row.titles):
        middle = (column + 0.5) / len(row.pictures)
        axes.text(middle, 1.02, text, ha="center", va="bottom", fontsize=7.5, **where)


def _mosaic(pictures: Tensor) -> np.ndarray:
    """The pictures in one row, a gap around each: nan, which matplotlib leaves blank, or white."""
    gap = max(1, pictures.shape[2] // 28)
    blank = 1.0 if pictures.ndim == 4 else torch.nan
    n, h, w = pictures.shape[:3]
    canvas = torch.full((h + gap, n * (w + gap), *pictures.shape[3:]), blank)
    for index, picture in enumerate(pictures):
        left = index * (w + gap) + gap // 2
        canvas[gap // 2 : gap // 2 + h, left : left + w] = picture
    return canvas.numpy()
