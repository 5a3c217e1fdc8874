"""The straight path from a baseline: rules of quadrature, and gradients summed along it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bridge.attributions._baseline import requires_baseline
from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter

RIEMANN = ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")
SEEN = 1e-5  # images that are watched may be float32
Rule = tuple[list[float], list[float]]  # points and weights


def requires_path(
    x: Tensor, *, n_steps: int, baseline: float | Tensor, method: str, **_: Any
) -> None:
    """Raise ValueError for a trapezoid without two ends, or a baseline that does not fit."""
    if method == "riemann_trapezoid" and n_steps < 2:
        raise ValueError(f"riemann_trapezoid needs n_steps of 2 or more, got {n_steps}")
    requires_baseline(x, baseline)


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


def on_path(images: Sequence[Tensor], x: Tensor, baseline: float | Tensor) -> list[float] | None:
    """Where images lie between the baseline and x, in order; None where they do not."""
    way = (x - baseline).flatten(1)
    found = []
    for image in images:
        gone = (image - baseline).flatten(1)
        point = (gone * way).sum(1) / way.square().sum(1)
        off = (gone - point[:, None] * way).abs().max()
        if float(off) > SEEN or float(point.max() - point.min()) > SEEN:
            return None
        found.append(float(point.mean()))
    return sorted(found)


def rules_of(points: Sequence[float]) -> list[str]:
    """The rules whose points these are."""
    rules = ["gausslegendre", *RIEMANN]
    near = partial(np.allclose, points, atol=SEEN, rtol=0)
    return [rule for rule in rules if near(sorted(quadrature(rule, len(points))[0]))]


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
