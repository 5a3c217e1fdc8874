"""The random-logit test: does the map change where another class is explained?"""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._alike import Alike, alike
from bridge.metrics.measure import Explainer
from bridge.metrics.registry import metric


@metric(
    "random_logit",
    better="lower",
    paper="arXiv:1912.09818",
    random=True,
    needs=("explain",),
    explanations=lambda **_: 1,
)
def random_logit(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    explain: Explainer,
    similarity: Alike = "spearman",
) -> Tensor:
    """How alike the map of the target and that of another class, drawn at random, are, (n,).

    Sixt et al. 2020, section 4. A method that ignores the class scores 1.
    """
    classes = model.facts(x).logits.shape[1]
    away = torch.randint(1, classes, target.shape, device=target.device)
    other = explain(x, target=(target + away) % classes)
    return alike(maps, other, x, similarity)
