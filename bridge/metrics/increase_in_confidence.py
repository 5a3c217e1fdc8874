"""Increase in confidence: is the model surer where it sees only what the map shows?"""

from __future__ import annotations

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._masked import confidences
from bridge.metrics.registry import metric


@metric(
    "increase_in_confidence", better="higher", paper="arXiv:1710.11063", passes=lambda *_, **__: 2
)
def increase_in_confidence(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """1 where the target's probability on the image times its map is above that on the image, (n,).

    Chattopadhay et al. 2018, section 4.1; its mean is the share of images. See `average_drop`.
    """
    whole, shown = confidences(model, x, target, maps)
    return (shown > whole).double()
