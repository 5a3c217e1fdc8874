"""Data randomisation: does the map change where the model learnt labels that mean nothing?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bridge.core.engine import session
from bridge.core.model import ModelAdapter, wrap
from bridge.metrics._alike import Alike, alike
from bridge.metrics.measure import Explainer
from bridge.metrics.registry import metric


@metric(
    "data_randomisation",
    better="lower",
    paper="arXiv:1810.03292",
    needs=("explain", "shuffled"),
    explanations=lambda **_: 1,
)
def data_randomisation(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    explain: Explainer,
    shuffled: Any,
    similarity: Alike = "spearman",
) -> Tensor:
    """How alike the map and that of a model trained on shuffled labels are, (n,).

    Adebayo et al. 2018, section 4: `shuffled` is the same network, trained until it knew the
    training labels in random order by heart (`bridge.zoo.shuffled.shuffled_pair` trains both). What
    its map shows too comes from the image and the architecture, not from what the model learnt. It
    is left as it was.

    Raises TypeError where `shuffled` is no model, ValueError where it has other classes.
    """
    other = _adapter(shuffled, model)
    with session(other):
        theirs, ours = (each.facts(x).logits.shape[1] for each in (other, model))
        if theirs != ours:
            raise ValueError(f"the model has {ours} classes, the shuffled one {theirs}")
        return alike(maps, explain(x, model=other), x, similarity)


def _adapter(shuffled: Any, model: ModelAdapter) -> ModelAdapter:
    if isinstance(shuffled, ModelAdapter):
        return shuffled
    if not isinstance(shuffled, torch.nn.Module):
        kind = type(shuffled).__name__
        raise TypeError(f"shuffled must be a model, as the one that is explained, got a {kind}")
    return wrap(
        shuffled,
        mean=model.mean,
        std=model.std,
        bounds=model.bounds,
        layer=model.layer,
        reshape=model.reshape,
    )


@data_randomisation.variant("it compares the signs too (cosine), not what both call important")
def signed(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    return data_randomisation(model, x, target, maps, **{**params, "similarity": "cosine"})
