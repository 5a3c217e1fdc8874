"""The straight path from a baseline: rules of quadrature, and gradients summed along it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter

RIEMANN = ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")
Rule = tuple[list[float], list[float]]  # points and weights


def quadrature(method: str, n_steps: int) -> Rule:
    """Points in [0, 1] and weights that sum to 1, for `method` in Captum's words."""
    n = n_steps
    if method == "gausslegendre":
        points, weights = _legendre(n)
        return list(points), list(weights)
    if method == "riemann_left":
        return [k / n for k in range(n)], [1 / n] * n
    if method == "riemann_right":
        return [(k + 1) / n for k in range(n)], [1 / n] * n
    if method == "riemann_middle":
        return [(k + 0.5) / n for k in range(n)], [1 / n] * n
    ends = 0.5 / (n - 1)
    return [k / (n - 1) for k in range(n)], [ends, *[1 / (n - 1)] * (n - 2), ends]


@lru_cache(maxsize=32)
def _legendre(n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gauss-Legendre points and weights on [0, 1]: eigenvalues, as long as a small pass."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return tuple((points + 1) / 2), tuple(weights / 2)


def gradient_on_path(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    baseline: float | Tensor,
    points: list[float],
    weights: list[float],
) -> Tensor:
    """sum_k weight_k * d logit_t / d x at b + point_k (x - b), same shape as x."""
    way = x - baseline
    total = torch.zeros_like(x)
    for point, weight in zip(points, weights, strict=True):
        total += weight * input_gradient(model, baseline + point * way, target)
    return total
