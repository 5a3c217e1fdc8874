"""No implementation gets parameters that make no sense: no reference, no library, no function."""

from __future__ import annotations

import math

import pytest
import torch

import bridge
from bridge.core.parameters import (
    Baseline,
    Domain,
    Draw,
    LinfSize,
    Steps,
    StepSize,
    Stride,
    domains,
)
from tests.networks import Plain, images, seeded

LABELS = torch.tensor([0, 3, 1])
NAN, INF = math.nan, math.inf

# What makes no sense, wherever a method has such a parameter.
NONSENSE = [
    ("epsilon", -0.1, ValueError),
    ("epsilon", NAN, ValueError),
    ("epsilon", INF, ValueError),
    ("epsilon", [0.1, -0.1], ValueError),
    ("epsilon", [], ValueError),
    ("epsilon", "0.1", TypeError),
    ("steps", 0, ValueError),
    ("steps", -1, ValueError),
    ("steps", 2.5, TypeError),
    ("steps", True, TypeError),
    ("step_size", NAN, ValueError),
    ("step_size", -0.01, ValueError),
    ("step_size", INF, ValueError),
    ("restarts", 0, ValueError),
    ("restarts", 1.0, TypeError),
    ("start", torch.zeros(2, 3, 12, 12), ValueError),
    ("start", torch.full((3, 3, 12, 12), NAN), ValueError),
    ("start", 0.5, TypeError),
    ("noise", torch.full((3, 3, 12, 12), INF), ValueError),
    ("overshoot", -0.1, ValueError),
    ("overshoot", NAN, ValueError),
    ("candidates", 1, ValueError),
    ("candidates", 2.0, TypeError),
    ("targeted", "no", ValueError),
    ("random_start", None, ValueError),
    ("n_steps", 0, ValueError),
    ("n_steps", 12.0, TypeError),
    ("n_samples", 0, ValueError),
    ("stdev", NAN, ValueError),
    ("stdev", INF, ValueError),
    ("stdev", -0.1, ValueError),
    ("baseline", NAN, ValueError),
    ("baseline", INF, ValueError),
    ("baseline", torch.full((1, 3, 12, 12), NAN), ValueError),
    ("window", 0, ValueError),
    ("window", (3, 0), ValueError),
    ("window", (3, 3, 3), ValueError),
    ("window", 2.5, TypeError),
    ("stride", 0, ValueError),
    ("relu", "yes", ValueError),
    ("interpolation", "cubic", ValueError),
    ("method", "simpson", ValueError),
]
CASES = [
    pytest.param(name, parameter, value, error, id=f"{name}-{parameter}-{index}")
    for name in bridge.methods()
    for index, (parameter, value, error) in enumerate(NONSENSE)
    if parameter in bridge.registry.get(name).defaults
]


@pytest.fixture(scope="module")
def model():
    return bridge.wrap(seeded(Plain))


@pytest.mark.parametrize("name, parameter, value, error", CASES)
def test_every_implementation_refuses_it_alike_before_anything_runs(
    model, name, parameter, value, error
):
    calls = []

    def mine(model, x, target, **params):
        calls.append(params)
        return x

    said = set()
    for implementation in (*bridge.registry.get(name).implementations(), mine):
        with pytest.raises(error) as refusal:
            bridge.run(
                name, model, images(), LABELS, implementation=implementation, **{parameter: value}
            )
        said.add(str(refusal.value))
    assert not calls
    assert len(said) == 1, said
    assert parameter in said.pop()


def test_every_case_is_asked_of_some_method():
    known = {p for name in bridge.methods() for p in bridge.registry.get(name).defaults}
    assert {parameter for parameter, _, _ in NONSENSE} <= known


@pytest.mark.parametrize("name", bridge.methods())
def test_every_number_has_a_domain_and_every_default_is_in_its_own(name):
    method = bridge.registry.get(name)
    numbers = {p for p, value in method.defaults.items() if isinstance(value, int | float)}
    assert numbers <= set(method.domains)
    for parameter, domain in method.domains.items():
        domain.check(parameter, method.defaults[parameter])
        for other in domain.others:
            domain.check(parameter, other)
            assert other != method.defaults[parameter]


def domain_of(annotated) -> Domain:
    """The domain in an annotated type."""

    def function(model, x, labels, *, value: annotated): ...

    function.__annotations__["value"] = annotated
    return domains(function)["value"]


@pytest.mark.parametrize(
    "kind, fits",
    [
        (LinfSize, [0, 0.1, 3, torch.tensor(0.1)]),
        (Steps, [1, 40]),
        (StepSize, [None, 0.0, 0.01]),
        (Stride, [None, 1, (2, 3), [2, 3]]),
        (Baseline, [0, -1.5, torch.zeros(1, 3, 4, 4)]),
        (Draw, [None, torch.zeros(2, 3, 4, 4)]),
        (bool, [True, False]),
    ],
    ids=lambda value: "",
)
def test_what_makes_sense_is_taken(kind, fits):
    for value in fits:
        domain_of(kind).check("value", value)


@pytest.mark.parametrize(
    "kind, words",
    [
        (LinfSize, "a finite number of 0 or more (Linf, in pixel units)"),
        (Steps, "a whole number of 1 or more"),
        (StepSize, "a finite number of 0 or more (absolute, in pixel units), or None"),
        (Stride, "a whole number of 1 or more (pixels), or (h, w), or None"),
        (Draw, "a tensor or None"),
    ],
)
def test_the_refusal_says_what_is_expected_and_what_came(kind, words):
    with pytest.raises((TypeError, ValueError)) as refusal:
        domain_of(kind).check("value", "much")
    assert str(refusal.value) == f"value must be {words}, got 'much'"


def test_starts_have_to_fit_the_images_and_restarts_have_to_differ(model):
    x = images()
    with pytest.raises(
        ValueError, match=r"start has shape \(1, 3, 12, 12\), expected \(3, 3, 12, 12\)"
    ):
        bridge.run("pgd", model, x, LABELS, start=x[:1])
    with pytest.raises(ValueError, match="all be the same"):
        bridge.run("pgd_l2", model, x, LABELS, random_start=False, restarts=2)
