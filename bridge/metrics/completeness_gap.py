"""Completeness: does the map sum to what the model's logit gained?"""

from __future__ import annotations

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._replacement import Replacement, replacement
from bridge.metrics._score import scores
from bridge.metrics.registry import metric


@metric("completeness_gap", better="lower", paper="arXiv:1703.01365", passes=lambda *_, **__: 2)
def completeness_gap(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    baseline: Replacement = "zero",
) -> Tensor:
    """|sum map - (logit_t(x) - logit_t(baseline))| / |logit_t(x) - logit_t(baseline)|, (n,).

    Sundararajan et al. 2017, axiom of completeness. NaN where the two logits are equal: then any
    share of nothing would do.
    """
    pair = (x, replacement(x, baseline))

    def make(image: Tensor, k: Tensor) -> Tensor:
        at_end = k.bool().view(-1, 1, 1, 1)
        return pair[1][image].where(at_end, pair[0][image])

    found = scores(model, target, 2, make, "logit")
    gained = found[:, 0] - found[:, 1]
    gap = (maps.double().flatten(1).sum(1) - gained).abs() / gained.abs()
    return gap.where(gained != 0, float("nan"))
