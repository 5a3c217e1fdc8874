"""What a coarse quadrature misses is no failure; what its order does not explain is one."""

from functools import partial

import pytest

import bridge
from bridge.attributions._path import gradient_on_path, quadrature
from bridge.attributions.integrated_gradients import integrated_gradients


def found(function, **params):
    report = bridge.check(function, "integrated_gradients", params=params)
    return next(c for c in report.checks if "completeness" in c.name)


@pytest.mark.parametrize(("rule", "steps"), [("riemann_left", 3), ("riemann_trapezoid", 4)])
def test_the_error_of_a_coarse_rule_is_within_what_its_order_allows(rule, steps):
    def coarse(model, x, target):
        told = {"baseline": 0.0, "n_steps": steps, "method": rule}
        return integrated_gradients.reference(model, x, target, **told)

    check = found(coarse, n_steps=steps, method=rule)
    assert check.status == "passed"
    assert 1e-4 < check.figures["error"] <= check.figures["may be"] < 0.05


def test_weights_that_sum_to_less_than_one_are_no_error_of_the_rule():
    def short(model, x, target, *, n_steps=50):
        points, weights = quadrature("riemann_trapezoid", n_steps)
        on_path = partial(gradient_on_path, model, x, target, 0.0, points)
        return x * on_path([weight * (n_steps - 1) / n_steps for weight in weights])

    check = found(short, method="riemann_trapezoid")
    assert check.status == "failed"
    assert "(the trapezoid rule: h^2 / 12 max |g''|, h = 0.0204)" in check.message
