"""What of the model's answer a metric looks at, over many images in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from bridge.core.examine import AT_ONCE
from bridge.core.gradients import predicted, target_logits
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain

Kind = Literal["logit", "probability", "accuracy"]
Score = Annotated[Kind, Domain(choices=("logit", "probability", "accuracy"))]


def score_of(logits: Tensor, target: Tensor, score: Kind) -> Tensor:
    """(n,) float64: the target's logit, its softmax probability, or 1 where it is the prediction.

    >>> score_of(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), "probability").tolist()
    [0.5]
    """
    if score == "accuracy":
        return (predicted(logits) == target).double()
    wide = logits.double()
    return target_logits(wide.softmax(1) if score == "probability" else wide, target)


@torch.no_grad()
def scores(
    model: ModelAdapter,
    target: Tensor,
    count: int,
    make: Callable[[Tensor, Tensor], Tensor],
    score: Kind,
) -> Tensor:
    """The scores of `count` images made of each of n images, (n, count) float64.

    `make(image, k)`, both (m,), gives (m, c, h, w): never more than 64 at a time are in memory.
    """
    total = len(target) * count
    found = []
    for first in range(0, total, AT_ONCE):
        index = torch.arange(first, min(total, first + AT_ONCE), device=target.device)
        image, k = index // count, index % count
        found.append(score_of(model(make(image, k)), target[image], score))
    return torch.cat(found).view(len(target), count)
