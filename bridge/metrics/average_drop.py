"""Average drop: the confidence that the model loses where it sees only what the map shows."""

from __future__ import annotations

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics._masked import confidences
from bridge.metrics.registry import metric


@metric("average_drop", better="lower", paper="arXiv:1710.11063", passes=lambda *_, **__: 2)
def average_drop(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """max(0, Y - O) / Y: Y the target's probability, O that of the image times its map, (n,).

    Chattopadhay et al. 2018, section 4.1, as a share, not in percent. The map is scaled from its
    smallest to its largest value into [0, 1]; where it is constant, nothing is hidden.
    """
    whole, shown = confidences(model, x, target, maps)
    return (whole - shown).clamp(min=0) / whole


@average_drop.variant("a gain in confidence counts as a negative drop")
def signed(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    whole, shown = confidences(model, x, target, maps)
    return (whole - shown) / whole


@average_drop.variant("it is in percent")
def percent(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    return 100 * average_drop(model, x, target, maps)


@average_drop.variant("it is not divided by the confidence in the whole image")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    whole, shown = confidences(model, x, target, maps)
    return (whole - shown).clamp(min=0)
