"""A probe's images with what became of them, a picture a step: the frames of films and sheets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bridge.core.tags import Kind
from bridge.visualize.heatmap import as_rgb, coloured, heatmap, limit


def strips(
    x: Tensor, outputs: Sequence[Tensor], kind: Kind, bounds: tuple[float, float]
) -> list[np.ndarray]:
    """For each output the images in a row, and below them their maps or attacked images.

    `x` (n, c, h, w) within `bounds`; each output is a method's of that kind. Gives (2 h, n w, 3) in
    8 bits; a map has its own scale, by its 98th percentile.
    """
    images = as_rgb(x, bounds)
    size = (int(x.shape[2]), int(x.shape[3]))
    found = []
    for output in outputs:
        shown = as_rgb(output, bounds) if kind == "attack" else _map(output.float(), size)
        strip = torch.cat([torch.cat(list(images), 1), torch.cat(list(shown), 1)])
        found.append((strip * 255).round().byte().numpy())
    return found


def sheet(frames: Sequence[np.ndarray]) -> np.ndarray:
    """The images once, on top, and below them what the steps made of them, a row a step."""
    height = len(frames[0]) // 2
    return np.concatenate([frames[0][:height], *(frame[height:] for frame in frames)])


def _map(output: Tensor, size: tuple[int, int]) -> Tensor:
    map_ = heatmap(output, size)
    return coloured(map_, limit(map_))
