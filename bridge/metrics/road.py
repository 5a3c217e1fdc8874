"""ROAD: remove and debias: the score while pixels are replaced so that none can be told removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.metrics._curve import Curve
from bridge.metrics._pixels import pixel_values, random_ties
from bridge.metrics._score import Score, scores
from bridge.metrics.registry import metric

# A missing pixel is the mean of its neighbours: 1/6 each of four, 1/12 of the four at the corners.
NEIGHBOURS = [
    (dy, dx, 1 / 6 if 0 in (dy, dx) else 1 / 12)
    for dy in (-1, 0, 1)
    for dx in (-1, 0, 1)
    if (dy, dx) != (0, 0)
]


class _Shares(Domain):
    def check(self, name: str, value: Any) -> None:
        if isinstance(value, str) or not isinstance(value, Sequence) or not value:
            raise TypeError(f"{name} must be shares of the pixels, (0.1, 0.5), got {value!r}")
        for each in value:
            super().check(name, each)


Shares = Annotated[Sequence[float], _Shares(low=0, high=1)]
Order = Annotated[Literal["most", "least"], Domain(choices=("most", "least"))]
Noise = Annotated[float, Domain(low=0, unit="standard deviation, in pixel units")]


@metric(
    "road",
    better="lower",
    paper="arXiv:2202.00449",
    random=True,
    passes=lambda *_, shares=(0.1, 0.3, 0.5, 0.7, 0.9), **__: len(shares),
)
def road(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    shares: Shares = (0.1, 0.3, 0.5, 0.7, 0.9),
    first: Order = "most",
    stdev: Noise = 0.01,
    score: Score = "accuracy",
) -> tuple[Tensor, Curve]:
    """mean over `shares` of the score where so many pixels are imputed from their neighbours, (n,).

    Rong et al. 2022: exactly that share of the pixels, the `first` "most" or "least" important
    (with "least", higher is better), ties broken at random; each becomes the weighted mean of its
    eight neighbours (a sparse linear system) plus noise. The score of the paper is the accuracy.
    """
    values = pixel_values(maps, x)
    place = random_ties(values if first == "most" else -values)
    pixels = place[0].numel()
    images = torch.stack(
        [
            torch.stack([imputed(x[i], place[i] < round(share * pixels)) for share in shares])
            for i in range(len(x))
        ]
    )
    noise = stdev * torch.randn_like(images)
    gone = torch.stack([place < round(share * pixels) for share in shares], 1)[:, :, None]
    images = torch.where(gone, images + noise, images)
    found = scores(model, target, len(shares), lambda i, k: images[i, k], score)
    return found.mean(1), Curve(torch.tensor(shares, dtype=torch.float64), found)


def imputed(image: Tensor, gone: Tensor) -> Tensor:
    """The image (c, h, w) with each pixel of `gone` (h, w) the weighted mean of its neighbours.

    At the border the weights of those that exist are scaled to sum to 1. Where all are gone there
    is nothing to go by: the image's mean colour.
    """
    missing = gone.cpu().numpy()
    if not missing.any():
        return image.clone()
    if missing.all():
        return image.mean((1, 2), keepdim=True).expand_as(image).clone()
    pixels = image.detach().double().cpu().numpy()
    h, w = missing.shape
    number = np.full((h, w), -1)
    number[missing] = np.arange(missing.sum())
    ys, xs = np.nonzero(missing)
    total, right = np.zeros(len(ys)), np.zeros((len(ys), len(pixels)))
    rows, columns, entries = [], [], []
    for dy, dx, weight in NEIGHBOURS:
        y, x_ = ys + dy, xs + dx
        inside = np.flatnonzero((y >= 0) & (y < h) & (x_ >= 0) & (x_ < w))
        y, x_ = y[inside], x_[inside]
        total[inside] += weight
        unknown = missing[y, x_]
        rows.append(inside[unknown])
        columns.append(number[y[unknown], x_[unknown]])
        entries.append(np.full(unknown.sum(), -weight))
        known = ~unknown
        right[inside[known]] += weight * pixels[:, y[known], x_[known]].T
    diagonal = np.arange(len(ys))
    system = coo_matrix(
        (
            np.concatenate([total, *entries]),
            (np.concatenate([diagonal, *rows]), np.concatenate([diagonal, *columns])),
        )
    )
    solved = splu(csc_matrix(system)).solve(right)
    filled = image.clone()
    filled[:, gone] = torch.from_numpy(solved.T.copy()).to(image)
    return filled
