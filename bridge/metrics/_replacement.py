"""What stands where a pixel was taken away: black, the image's mean, a blurred image, a value."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.core.parameters import Domain

NAMED = ("zero", "mean", "blur")
SIGMA, RADIUS = 5.0, 5  # RISE: a Gaussian of 11 pixels with sigma 5


class _Replacement(Domain):
    """A name, a number in pixel units, or images that broadcast to the batch."""

    def check(self, name: str, value: Any) -> None:
        if isinstance(value, str):
            if value not in NAMED:
                raise ValueError(f"unknown {name} {value!r}: expected {self}")
            return
        super().check(name, value)

    def __str__(self) -> str:
        return "one of 'zero', 'mean', 'blur', a number in pixel units, or a tensor"


Replacement = Annotated[
    str | float | Tensor, _Replacement(tensor=True, others=(0.3, "mean", "blur"))
]


def replacement(x: Tensor, kind: str | float | Tensor) -> Tensor:
    """Images, same shape as x, to take pixels from.

    "zero" is black in pixel units; "mean" each image's own mean colour; "blur" the image under a
    Gaussian of sigma 5 cut at 11 pixels (RISE's), its edges reflected. Raises ValueError for a
    tensor that does not broadcast to x.
    """
    if kind == "zero":
        return torch.zeros_like(x)
    if kind == "mean":
        return x.mean((2, 3), keepdim=True).expand_as(x)
    if kind == "blur":
        return blurred(x)
    value = torch.as_tensor(kind, dtype=x.dtype, device=x.device)
    try:
        return torch.broadcast_to(value, x.shape)
    except RuntimeError:
        raise ValueError(
            f"the replacement has shape {tuple(value.shape)}, expected one that broadcasts to "
            f"{tuple(x.shape)}"
        ) from None


def blurred(x: Tensor) -> Tensor:
    """The images (n, c, h, w) under RISE's Gaussian; a smaller one where they are that small."""
    radius = min(RADIUS, min(x.shape[2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    weights = (-(offsets**2) / (2 * SIGMA**2)).exp()
    weights = weights / weights.sum()
    channels = x.shape[1]
    padded = F.pad(x, (radius,) * 4, mode="reflect")
    rows = F.conv2d(padded, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
