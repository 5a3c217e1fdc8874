"""Sizes that cannot be meant, and seeds that are none, are refused for everybody alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import bridge
from bridge.core.budget import check_budget
from bridge.core.state import seeded as seeded_state
from bridge.fused import minimal_epsilon, run_many
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2]
ATTACKS = bridge.methods("attack")


@pytest.fixture(scope="module")
def model():
    return bridge.wrap(seeded(Plain))


def largest(name: str) -> float:
    return math.sqrt(3 * 12 * 12) if bridge.registry.get(name).norm == "l2" else 1.0


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("several", [False, True])
def test_an_epsilon_beyond_every_image_is_refused_alike_by_all(model, name, several):
    def mine(model, x, labels, **params):
        raise AssertionError("it ran")

    epsilon = 8 if largest(name) < 8 else 80
    given = [0.1, epsilon] if several else epsilon
    said = set()
    for implementation in (*bridge.registry.get(name).implementations(), mine):
        with pytest.raises(ValueError) as refusal:
            bridge.run(name, model, images(), LABELS, implementation=implementation, epsilon=given)
        said.add(str(refusal.value))
    with pytest.raises(ValueError) as refusal:
        run_many(model, images(), LABELS, {"saliency": {}, name: {"epsilon": given}})
    (text,) = {*said, str(refusal.value)}
    assert f"{epsilon} looks like {epsilon}/255" in text
    assert "[0, 1]" in text


@pytest.mark.parametrize("name", ATTACKS)
def test_an_epsilon_that_just_reaches_every_image_is_taken(model, name):
    check_budget(bridge.registry.get(name), largest(name), images(), (0, 1))
    check_budget(bridge.registry.get(name), None, images(), (0, 1))
    with pytest.raises(ValueError, match="larger than"):
        check_budget(bridge.registry.get(name), largest(name) * 1.001, images(), (0, 1))


def test_bounds_are_the_units():
    wide = bridge.wrap(seeded(Plain), mean=128.0, std=64.0, bounds=(0, 255))
    x = images() * 255
    assert bridge.run("fgsm", wide, x, LABELS, epsilon=8).output.shape == x.shape
    with pytest.raises(ValueError, match=r"255, the range of pixel values; sizes"):
        bridge.run("fgsm", wide, x, LABELS, epsilon=300)
    with pytest.warns(bridge.BridgeWarning, match=r"tenth of a grey level.*range is 8\)"):
        bridge.run("fgsm", wide, x, LABELS)  # whose default is 8 / 255


@pytest.mark.parametrize(
    "seed, error",
    [
        (1.5, TypeError),
        (1.0, TypeError),
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (torch.tensor(1), TypeError),
        (-1, ValueError),
        (2**63, ValueError),
        (10**30, ValueError),
    ],
)
def test_what_is_no_seed_is_refused_before_anything_runs(model, seed, error):
    calls = [
        lambda: bridge.run("pgd", model, images(), LABELS, seed=seed),
        lambda: run_many(model, images(), LABELS, {"pgd": {}}, seed=seed),
        lambda: minimal_epsilon(model, images(), LABELS, seed=seed),
        lambda: seeded_state(seed).__enter__(),
    ]
    before = torch.get_rng_state()
    for call in calls:
        with pytest.raises(error, match="seed must be a whole number from 0"):
            call()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, np.int64(3), np.uint8(3), 2**32, 2**63 - 1])
def test_every_whole_number_is_a_seed(model, seed):
    output = bridge.run("pgd", model, images(), LABELS, seed=seed, steps=1).output
    again = bridge.run("pgd", model, images(), LABELS, seed=int(seed), steps=1).output
    assert torch.equal(output, again)
