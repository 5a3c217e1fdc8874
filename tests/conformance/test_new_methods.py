"""A new method is checked from its reference and its tags alone; no module knows its name."""

from __future__ import annotations

import pytest
import torch

import bridge
from bridge.conformance import check
from bridge.conformance.checks import variations
from bridge.conformance.self_test import examine, verdict
from bridge.conformance.subject import Subject
from bridge.conformance.worlds import base, worlds
from bridge.core.gradients import input_gradient
from bridge.core.registry import _METHODS
from bridge.registry import get


@pytest.fixture(autouse=True)
def forgotten():
    """What a test registers is gone after it."""
    before = dict(_METHODS)
    yield
    _METHODS.clear()
    _METHODS.update(before)


def noisy_gradient(model, x, target, *, samples: int = 3):
    """mean over samples of d logit_t / d x at x + 0.3 * normal noise."""
    noise = 0.3 * torch.randn(samples, *x.shape, dtype=x.dtype)
    return torch.stack([input_gradient(model, x + n, target) for n in noise]).mean(0)


def in_another_order(model, x, target, *, samples=3):
    """The same, with each image's noise drawn after the other's."""
    total = torch.zeros_like(x)
    for i in range(len(x)):
        for _ in range(samples):
            noisy = x[i : i + 1] + 0.3 * torch.randn_like(x[i : i + 1])
            total[i : i + 1] += input_gradient(model, noisy, target[i : i + 1]) / samples
    return total


def summed(model, x, target, *, samples=3):
    return samples * in_another_order(model, x, target, samples=samples)


def test_a_random_method_without_tags_is_noticed_and_compared_on_average():
    bridge.attribution("noisy_gradient")(noisy_gradient)
    for right in (noisy_gradient, in_another_order):
        report = check(right, "noisy_gradient")
        assert report.passed, str(report)
        assert any("another seed" in each.name for each in report.checks)
    report = check(summed, "noisy_gradient")
    assert not report.passed
    assert report.cause.startswith("it is a sum over samples, not a mean (on average over")


def test_a_random_method_with_a_fixed_seed_is_found():
    bridge.attribution("noisy_gradient", random=True)(noisy_gradient)

    def always_the_same(model, x, target, *, samples=3):
        torch.manual_seed(0)
        return noisy_gradient(model, x, target, samples=samples)

    failures = {each.name for each in check(always_the_same, "noisy_gradient").failures}
    assert "contract: another seed gives another output" in failures


def test_a_variant_of_a_new_method_is_named_and_its_axioms_are_asked_for():
    @bridge.attribution("squared_gradient", axioms=("dummy", "implementation invariance"))
    def squared_gradient(model, x, target, *, power: float = 2.0):
        """|d logit_t / d x| ^ power."""
        return input_gradient(model, x, target).abs() ** power

    @squared_gradient.variant("it forgets the power")
    def unsquared(model, x, target, *, power):
        return input_gradient(model, x, target).abs()

    def wrong(model, x, target, *, power=2.0):
        return input_gradient(model, x, target).abs()

    report = check(wrong, "squared_gradient")
    assert report.cause.startswith("it ignores `power`") or "forgets the power" in report.cause
    axioms = [each.name for each in report.checks if each.name.startswith("axiom")]
    assert len(axioms) == 2
    assert check(squared_gradient.reference, "squared_gradient").passed


def test_parameters_that_make_no_sense_together_are_not_tried():
    def requires(x, *, low, high):
        if low >= high:
            raise ValueError("low must be below high")

    @bridge.attribution("clipped_gradient", requires=requires)
    def clipped_gradient(model, x, target, *, low: int = 0, high: int = 1):
        """d logit_t / d x within [low, high]."""
        return input_gradient(model, x, target).clamp(low, high)

    def mine(model, x, target, *, low=0, high=1):
        return input_gradient(model, x, target).clamp(low, high)

    report = check(mine, "clipped_gradient")
    assert report.passed, str(report)
    varied = [each.name for each in report.checks if "=" in each.name]
    assert varied == ["agreement: high=2"]


@pytest.mark.parametrize("name", bridge.methods())
def test_every_parameter_is_varied_within_its_domain(name):
    method = get(name)
    subject = Subject(method.reference, method, {}, 10.0)
    world = worlds(method, base(method), 0)[0]
    varied = list(variations(subject, world))
    for each in varied:
        assert each.params[each.varied] != {**method.defaults, **world.params}[each.varied]
        method.check(each.x, subject.settings(each))
    told = {name for name, value in method.defaults.items() if value is not None}
    assert told <= {each.varied for each in varied}


@pytest.mark.parametrize("name", bridge.methods())
def test_every_variant_is_another_answer_somewhere(name):
    method = get(name)
    subject = Subject(method.reference, method, {}, 10.0)
    places = worlds(method, base(method), 0)
    places += variations(subject, places[0])
    assert len({variant.sentence for variant in method.variants}) == len(method.variants)
    for variant in method.variants:
        for place in places:
            try:
                found = subject.deviating(variant, place)
            except (ValueError, ArithmeticError):
                continue  # it makes no sense with these parameters
            if found.shape != place.x.shape or not torch.equal(found, subject.reference(place)):
                break
        else:
            raise AssertionError(f"{variant.sentence}: the same as the reference")


def test_the_self_test_leaves_nothing_out_and_names_known_disagreements():
    report = examine()
    assert report["self-test"] == {
        f"{name}/{each}": "passed"
        for name in bridge.methods()
        for each in get(name).implementations()
    }
    known = report["known disagreements"]
    for name in bridge.methods():
        for library, twin in get(name).twins.items():
            assert known.get(f"{name}/{library}", "") == twin.differs


def test_the_self_test_finds_a_wrong_twin_of_a_new_method_that_states_nothing():
    @bridge.attribution("first_channel", needs=("layer", "relu"))
    def first_channel(model, x, target):
        """d logit_t / d x of the first channel."""
        return input_gradient(model, x, target)[:, :1]

    @first_channel.twin("mine")
    def mine(model, x, target):
        return input_gradient(model, x, target)[:, 1:2]

    assert verdict(first_channel, "reference") == "passed"
    assert "differs from the reference" in verdict(first_channel, "mine")


def test_a_method_that_looks_at_the_whole_batch_is_not_blamed_for_it():
    @bridge.attribution("against_the_mean")
    def against_the_mean(model, x, target):
        """(x - mean image of the batch) * d logit_t / d x."""
        return (x - x.mean(0, keepdim=True)) * input_gradient(model, x, target)

    report = check(against_the_mean.reference, "against_the_mean")
    assert report.passed, str(report)
    assert report.counts()["skipped"] == 1

    def against_black(model, x, target):
        return x * input_gradient(model, x, target)

    assert not check(against_black, "against_the_mean").passed
