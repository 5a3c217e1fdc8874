"""A metric of one's own is checked as a method is: right ones pass, each known mistake is named."""

from __future__ import annotations

import pytest
import torch

import bridge
from bridge.conformance.of_metrics import check_metric
from bridge.metrics import registry

METRICS = [registry.get(name) for name in registry.metrics()]
VARIANTS = [
    pytest.param(m, v, id=f"{m.name}-{v.function.__name__}") for m in METRICS for v in m.variants
]
TWINS = [pytest.param(m, f, id=f"{m.name}-{name}") for m in METRICS for name, f in m.twins.items()]


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_our_own_reference_passes(metric):
    report = check_metric(metric.reference, metric.name)
    assert report.passed, str(report)
    assert len(report.checks) >= 3


@pytest.mark.parametrize("metric, twin", TWINS)
def test_a_librarys_own_passes(metric, twin):
    report = check_metric(twin, metric.name)
    assert report.passed, str(report)


@pytest.mark.parametrize("metric, variant", VARIANTS)
def test_each_known_mistake_is_caught_and_named(metric, variant):
    report = check_metric(variant.function, metric.name)
    assert not report.passed
    assert report.cause == variant.sentence, str(report)


def test_a_stranger_is_judged_too():
    def my_deletion(model, x, target, maps, step=None):  # RISE as people write it, one by one
        values = []
        step = step or -(-x.shape[2] * x.shape[3] // 28)
        with torch.no_grad():
            for image, t, m in zip(x, target, maps, strict=True):
                m = m[None]
                if m.shape[2:] != image.shape[1:]:
                    m = torch.nn.functional.interpolate(m, image.shape[1:], mode="bilinear")
                order = m[0].sum(0).flatten().argsort(descending=True, stable=True)
                current, scores, done = image.clone(), [model(image[None]).softmax(1)[0, t]], [0]
                for start in range(0, len(order), step):
                    current.view(image.shape[0], -1)[:, order[start : start + step]] = 0
                    scores.append(model(current[None]).softmax(1)[0, t])
                    done.append(min(start + step, len(order)))
                values.append(
                    torch.trapezoid(torch.stack(scores), torch.tensor(done).double() / len(order))
                )
        return torch.stack(values)

    assert check_metric(my_deletion, "deletion").passed

    def sloppy(model, x, target, maps):
        maps.abs_()
        return my_deletion(model, x, target, maps)

    report = check_metric(sloppy, "deletion")
    assert not report.passed
    assert report.cause == "the map's absolute values order the pixels"
    assert any("writes into the maps" in check.message for check in report.failures)

    def odd(model, x, target, maps):
        return torch.rand(len(x))

    report = check_metric(odd, "deletion")
    assert report.cause.startswith("not recognised")

    def broken(model, x, target, maps):
        return maps

    report = check_metric(broken, "entropy")
    assert "expected one number an image" in report.failures[0].message


def test_check_takes_metrics_as_it_takes_methods():
    def mine(model, x, target, maps):
        return maps.flatten(1).abs().sum(1)

    report = bridge.check(mine, "entropy")
    assert not report.passed
    assert report.method == "entropy"
    with pytest.raises(AssertionError, match="FAILED"):
        bridge.check(mine, "entropy", on_fail="raise")
    with pytest.raises(TypeError, match="own networks only"):
        bridge.check(mine, "entropy", model=torch.nn.Flatten())


def test_a_request_that_makes_no_sense_is_refused():
    with pytest.raises(KeyError, match="did you mean deletion"):
        check_metric(lambda model, x, target, maps: maps, "deletoin")
    with pytest.raises(TypeError, match="no parameter 'steps'"):
        check_metric(lambda model, x, target, maps: maps, "deletion", params={"steps": 3})
