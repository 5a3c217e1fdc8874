"""How a Captum attribution is called where it would warn about what it does to its own inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

_NOTICES = (
    "Setting backward hooks on ReLU activations",
    "Input Tensor 0 did not already require gradients",
)
# What its guided methods do differently.
SKIP = (
    "Captum clips the gradient of the ReLU's input tensor: where that tensor is also used "
    "elsewhere, as in h + f(relu(h)), the skip path's gradient is clipped too. The reference clips "
    "at the ReLU alone, as the paper and zennit do"
)


def quiet(attribute: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """attribute(...) without the notices that it sets hooks and `requires_grad` and undoes it."""
    with warnings.catch_warnings():
        for notice in _NOTICES:
            warnings.filterwarnings("ignore", message=notice)
        result: Tensor = attribute(*args, **kwargs)
    return result


def as_baseline(baseline: float | Tensor, x: Tensor) -> float | Tensor:
    """A baseline as Captum takes it: a number, or a tensor of the images' shape."""
    return baseline.to(x).expand_as(x) if isinstance(baseline, Tensor) else baseline
