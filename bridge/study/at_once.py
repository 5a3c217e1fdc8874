"""How many images go through a model at once."""

from __future__ import annotations

from torch import Tensor

# As many as fill a processor and stay in its memory: images, and numbers in them.
AT_ONCE = {"cpu": (64, 2**21), "cuda": (256, 2**26)}


def batch_of(x: Tensor) -> int:
    """How many images like x (n, c, h, w) go through a model at once, by size and device.

    The same on every machine of a kind, so that shards cut alike and parts draw alike.
    """
    images, numbers = AT_ONCE.get(x.device.type, AT_ONCE["cpu"])
    return max(1, min(images, numbers // x[0].numel()))
