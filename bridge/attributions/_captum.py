"""How a Captum attribution is called where it would warn about what it does to its own inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

_NOTICES = ("Setting backward hooks on ReLU activations", "Input Tensor 0 did not already require gradients")


def quiet(attribute: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """attribute(...) without the notices that Captum sets hooks and `requires_grad`, and will undo it."""
    with warnings.catch_warnings():
        for notice in _NOTICES:
            warnings.filterwarnings("ignore", message=notice)
        result: Tensor = attribute(*args, **kwargs)
    return result
