"""Norms, balls and bounds, image by image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TINY = 1e-12  # the floor under a norm that is divided by, so that a zero gradient stays zero


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1): one number an image, to multiply images with."""
    return values.view(-1, *[1] * (like.ndim - 1))


def l1_norm(v: Tensor) -> Tensor:
    """sum |v| of each image, (n,)."""
    return v.flatten(1).abs().sum(1)


def l2_norm(v: Tensor) -> Tensor:
    """sqrt(sum v^2) of each image, (n,).

    >>> l2_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([5., 1.])
    """
    return v.flatten(1).square().sum(1).sqrt()


def linf_norm(v: Tensor) -> Tensor:
    """max |v| of each image, (n,)."""
    return v.flatten(1).abs().amax(1)


def unit_l1(v: Tensor) -> Tensor:
    """v / max(norm1(v), 1e-12) for each image."""
    return v / per_image(l1_norm(v).clamp(min=TINY), v)


def unit_l2(v: Tensor) -> Tensor:
    """v / max(norm2(v), 1e-12) for each image."""
    return v * per_image(1 / l2_norm(v).clamp(min=TINY), v)


def unit_linf(v: Tensor) -> Tensor:
    """v / max(max|v|, 1e-12) for each image."""
    return v / per_image(linf_norm(v).clamp(min=TINY), v)


def project_linf(x: Tensor, center: Tensor, epsilon: float | Tensor) -> Tensor:
    """The point nearest to x with |x - center| <= epsilon everywhere.

    `epsilon` is a number, or one an image (n, 1, 1, 1).

    >>> project_linf(torch.tensor([0.0, 0.5]), torch.tensor([0.2, 0.4]), 0.125)
    tensor([0.0750, 0.5000])
    """
    # The limits are numbers, or tensors of one an image; clamp takes both, but its types know only
    # the one or the other.
    limits: Any = (-epsilon, epsilon)
    return (x - center).clamp_(*limits).add_(center)


def project_l2(x: Tensor, center: Tensor, epsilon: float | Tensor) -> Tensor:
    """The point nearest to x with norm2(x - center) <= epsilon, for each image.

    center + d * min(1, epsilon / max(norm2(d), 1e-12)) with d = x - center; `epsilon` is a number,
    or one an image (n, 1, 1, 1).
    """
    delta = x - center
    factor = (epsilon / per_image(l2_norm(delta).clamp(min=TINY), x)).clamp(max=1)
    return center + delta * factor


def uniform(like: Tensor, low: float, high: float) -> Tensor:
    """Uniform numbers in [low, high) of like's shape, drawn as Foolbox does.

    From the global generator of its device.
    """
    return torch.rand(like.shape, dtype=like.dtype, device=like.device) * (high - low) + low


def unit_ball(like: Tensor) -> Tensor:
    """Uniform points of the L2 unit ball, one an image, of like's shape.

    Of n + 2 normal numbers over their norm the first n (Voelker et al. 2017).
    """
    count = like[0].numel()
    normal = torch.randn(len(like), count + 2, dtype=like.dtype, device=like.device)
    return (normal / normal.square().sum(1, keepdim=True).sqrt())[:, :count].reshape(like.shape)
