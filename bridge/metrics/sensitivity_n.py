"""Sensitivity-n: do sums of the map go with what taking those pixels away does?"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.metrics._pixels import pixel_values
from bridge.metrics._replacement import Replacement, replacement
from bridge.metrics._score import scores
from bridge.metrics.registry import metric

Share = Annotated[float, Domain(low=0, high=1, unit="of the pixels")]
Subsets = Annotated[int, Domain(low=2, whole=True)]


@metric(
    "sensitivity_n",
    better="higher",
    paper="arXiv:1711.06104",
    random=True,
    passes=lambda *_, subsets=32, **__: subsets + 1,
)
def sensitivity_n(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    share: Share = 0.1,
    subsets: Subsets = 32,
    baseline: Replacement = "zero",
) -> Tensor:
    """corr over sets S of n pixels of (sum of the map over S, logit_t(x) - logit_t(x without S)).

    Ancona et al. 2018, section 4.2: Pearson's correlation over `subsets` random sets of n = `share`
    of the pixels (at least one), (n,). 1 for a map of the contributions of a linear model. NaN
    where either side is constant.
    """
    end, values = replacement(x, baseline), pixel_values(maps, x)
    pixels = values[0].numel()
    count = max(1, round(share * pixels))
    draws = torch.rand(len(x), subsets, pixels, device=x.device)
    chosen = torch.zeros_like(draws, dtype=torch.bool)
    chosen.scatter_(2, draws.topk(count, dim=2).indices, True)
    chosen = chosen.view(len(x), subsets, *values.shape[1:])

    def make(image: Tensor, k: Tensor) -> Tensor:
        gone = chosen[image, (k - 1).clamp(min=0)] & (k > 0).view(-1, 1, 1)
        return torch.where(gone[:, None], end[image], x[image])

    found = scores(model, target, subsets + 1, make, "logit")
    lost = found[:, :1] - found[:, 1:]
    foretold = (chosen * values[:, None]).flatten(2).sum(2)
    lost, foretold = (v - v.mean(1, keepdim=True) for v in (lost, foretold))
    return (lost * foretold).sum(1) / (lost.norm(dim=1) * foretold.norm(dim=1))
