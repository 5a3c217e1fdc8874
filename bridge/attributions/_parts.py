"""What methods that are made of others take from them."""

from __future__ import annotations

from torch import Tensor

from bridge.core.method import Fused
from bridge.core.registry import get


def fast(name: str) -> Fused:
    """The fast implementation of another method. Raises KeyError where it has none."""
    found = get(name).fast
    if found is None:
        raise KeyError(f"{name} has no fast implementation")
    return found


def linear(name: str, w: Tensor, x: Tensor, **params: object) -> Tensor:
    """Another method's closed form on logits = w x. Raises KeyError where it states none."""
    found = get(name).tags.linear
    if found is None:
        raise KeyError(f"{name} states no closed form")
    result: Tensor = found(w, x, **params)
    return result
