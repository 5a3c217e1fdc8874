"""Numbers in float64, on devices that have it."""

from __future__ import annotations

import torch
from torch import Tensor


def wide_device(device: torch.device) -> torch.device:
    """Where float64 is computed that is asked of a device: itself, or the CPU for Apple's MPS.

    >>> wide_device(torch.device("mps")), wide_device(torch.device("cuda:1"))
    (device(type='cpu'), device(type='cuda', index=1))
    """
    return torch.device("cpu") if device.type == "mps" else device


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float64, there."""
    return tensor.to(wide_device(tensor.device)).double()
