"""The error that a quadrature may have by its order."""

import numpy as np
import pytest

from bridge.attributions._order import may_miss
from bridge.attributions._path import RIEMANN, quadrature


def curves(points):
    return np.stack([np.tanh(3 * points), np.exp(-4 * points)], 1)


EXACT = np.array([np.log(np.cosh(3)) / 3, (1 - np.exp(-4)) / 4])


@pytest.mark.parametrize("steps", [2, 5, 20])
@pytest.mark.parametrize("rule", ["gausslegendre", *RIEMANN])
def test_no_rule_misses_by_more_than_its_bound_and_none_is_bounded_loosely(rule, steps):
    points, weights = map(np.array, quadrature(rule, steps))
    error = np.abs(weights @ curves(points) - EXACT).max()
    bound, why = may_miss(curves, method=rule, n_steps=steps)
    assert error <= bound + 1e-14
    assert bound <= 6 * error + 1e-12
    assert why


@pytest.mark.parametrize(("rule", "power"), [("riemann_left", 1), ("riemann_trapezoid", 2)])
def test_the_bound_falls_by_the_order_of_the_rule(rule, power):
    ends = 1 if rule == "riemann_trapezoid" else 0
    coarse, fine = (
        may_miss(curves, method=rule, n_steps=intervals + ends)[0] for intervals in (8, 16)
    )
    assert coarse / fine == pytest.approx(2**power, rel=1e-6)
