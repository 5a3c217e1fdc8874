"""How far a quadrature may miss: its own order, at the steps that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Along = Callable[[NDArray[np.float64]], NDArray[np.float64]]
GRID = 400  # points between which the path's derivatives are taken
SPARE = 40  # degrees past the rule's own, by which what it leaves out is summed
# What a rule with one point an interval of width h leaves at most: h^p * C * max |g^(p)|.
ORDERS = {
    "riemann_left": (1, 1 / 2, "h / 2 max |g'|"),
    "riemann_right": (1, 1 / 2, "h / 2 max |g'|"),
    "riemann_middle": (2, 1 / 24, "h^2 / 24 max |g''|"),
    "riemann_trapezoid": (2, 1 / 12, "h^2 / 12 max |g''|"),
}


def may_miss(along: Along, *, method: str, n_steps: int, **_: Any) -> tuple[float, str]:
    """By how much the rule may miss the integral of g = `along` over [0, 1], and why, in words.

    `along` takes points (k,) and gives values (k, n). The equally spaced rules: the classical
    bounds. Gauss-Legendre is exact up to degree 2 n - 1: twice what g has beyond, as Chebyshev
    coefficients.
    """
    if method not in ORDERS:
        degree = 2 * n_steps - 1
        found = _beyond(along, degree)
        return found, f"Gauss-Legendre with {n_steps} points is exact to degree {degree}"
    order, factor, words = ORDERS[method]
    width = 1 / (n_steps - 1 if method == "riemann_trapezoid" else n_steps)
    steepest = _largest_derivative(along, order)
    name = method.removeprefix("riemann_")
    return factor * width**order * steepest, f"the {name} rule: {words}, h = {width:.3g}"


def _largest_derivative(along: Along, order: int) -> float:
    values = along(np.linspace(0, 1, GRID + 1))
    return float(np.abs(np.diff(values, order, axis=0)).max()) * GRID**order


def _beyond(along: Along, degree: int) -> float:
    """Twice the sum of g's Chebyshev coefficients past this degree."""
    count = degree + SPARE
    angles = np.pi * (np.arange(count) + 0.5) / count
    values = along((np.cos(angles) + 1) / 2)
    powers = np.arange(degree + 1, count)
    found = 2 / count * np.cos(np.outer(powers, angles)) @ values
    return 2 * float(np.abs(found).sum(0).max())
