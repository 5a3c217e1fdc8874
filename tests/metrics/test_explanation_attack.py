"""Attacks on explanations: the class stays, the map moves further than noise moves it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import bridge
from bridge.core.gradients import predict
from bridge.metrics.explanation_attack import attack_explanation
from tests.networks import Functional, Plain, images, seeded

GOALS = ["top_k", "mass_centre"]


@pytest.fixture(scope="module")
def world():
    model = bridge.load_model("zoo:fashion_cnn")
    x, labels = bridge.load_batch("samples:fashion_mnist", 4)
    return model, x, labels


@pytest.mark.parametrize("goal", GOALS)
def test_the_map_moves_further_than_under_noise_and_the_class_stays(world, goal):
    model, x, labels = world
    state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    attacked = attack_explanation(model, x, labels, goal=goal, steps=20)
    noise = attack_explanation(model, x, labels, goal="random_sign")
    assert torch.equal(predict(model, attacked.images), predict(model, x))
    assert (attacked.images - x).abs().max() <= 8 / 255 + 1e-6
    assert attacked.images.min() >= 0
    assert attacked.images.max() <= 1
    if goal == "top_k":
        assert attacked.top_k.mean() < noise.top_k.mean() / 3
        assert attacked.spearman.mean() < noise.spearman.mean()
    else:
        assert attacked.centre.mean() > 2 * noise.centre.mean()
    assert all(torch.equal(v, state[0][k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state[1])
    again = attack_explanation(model, x, labels, goal=goal, steps=20)
    assert torch.equal(again.images, attacked.images)


def test_a_map_is_drawn_towards_another_one(world):
    model, x, labels = world
    own = attack_explanation(model, x, labels, goal="random_sign", epsilon=0.0).before
    towards = own.roll(1, 0)  # each image's neighbour's
    found = attack_explanation(
        model, x, labels, goal="target_map", towards=towards, epsilon=0.1, steps=40
    )
    before, after = ((each - towards).square().sum((1, 2)) for each in (found.before, found.after))
    assert (after <= before).all()
    assert after.mean() < 0.8 * before.mean()


def test_the_map_of_a_linear_model_cannot_be_moved():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 5, 3)).double().eval()
    x = torch.rand(3, 2, 6, 5, dtype=torch.float64)
    for goal in (*GOALS, "random_sign"):
        found = attack_explanation(bridge.wrap(module), x, [0, 1, 2], goal=goal, epsilon=0.2)
        assert (found.top_k == 1).all()
        assert torch.allclose(found.spearman, torch.ones(3).double())
        assert (found.centre < 1e-12).all()


def test_maps_are_probabilities_and_their_figures_are_what_they_say():
    model, x = bridge.wrap(seeded(Plain).double()), images(3).double()
    found = attack_explanation(model, x, [0, 1, 2], steps=5, share=0.1)
    gradient = bridge.run("saliency", model, x, [0, 1, 2]).output.sum(1)
    expected = gradient / gradient.sum((1, 2), keepdim=True)
    assert torch.allclose(found.before, expected, rtol=1e-9)
    assert found.k == round(0.1 * expected[0].numel())
    for i in range(3):
        first, second = (
            set(m[i].flatten().topk(found.k).indices.tolist()) for m in (found.before, found.after)
        )
        assert found.top_k[i] == len(first & second) / found.k


def test_integrated_gradients_are_attacked_themselves(world):
    """Their own map moves further than when the gradient's is what is attacked, or under noise."""
    model, x, labels = world
    given = {"epsilon": 8 / 255, "steps": 20}
    itself = attack_explanation(model, x, labels, n_steps=8, **given)
    integrated = bridge.run("integrated_gradients", model, x, labels, n_steps=8).output.abs().sum(1)
    expected = integrated / integrated.sum((1, 2), keepdim=True)
    assert torch.allclose(itself.before, expected, rtol=1e-3, atol=1e-7)
    assert torch.equal(predict(model, itself.images), predict(model, x))
    noise = attack_explanation(model, x, labels, n_steps=8, goal="random_sign", **given)
    others = attack_explanation(model, x, labels, **given).images
    moved = bridge.run("integrated_gradients", model, others, labels, n_steps=8).output.abs().sum(1)
    kept = [m.flatten().topk(itself.k).indices for m in (expected[0], moved[0])]
    assert itself.top_k.mean() < 0.8 * noise.top_k.mean()
    assert itself.top_k[0] < len(set(kept[0].tolist()) & set(kept[1].tolist())) / itself.k


def test_one_step_at_the_end_of_the_path_is_the_images_times_the_gradients_at_half():
    model, x = bridge.wrap(seeded(Plain).double()), images(3).double()
    found = attack_explanation(model, x, [0, 1, 2], goal="random_sign", epsilon=0.0, n_steps=1)
    half = bridge.run("saliency", model, x / 2, [0, 1, 2]).output
    expected = (x * half).sum(1)  # Gauss-Legendre's one point is 1/2
    assert torch.allclose(found.before, expected / expected.sum((1, 2), keepdim=True), rtol=1e-9)


def test_what_makes_no_sense_is_refused():
    model, x = bridge.wrap(seeded(Plain)), images(3)
    for expected, how in [
        ("unknown goal", {"goal": "labels"}),
        ("towards", {"goal": "target_map"}),
        ("towards", {"towards": torch.rand(3, 12, 12)}),
        ("towards has shape", {"goal": "target_map", "towards": torch.rand(2, 12, 12)}),
        ("steps", {"steps": 0}),
        ("n_steps", {"n_steps": 0}),
        ("share", {"share": 2.0}),
        ("epsilon", {"epsilon": -0.1}),
    ]:
        with pytest.raises((TypeError, ValueError), match=expected):
            attack_explanation(model, x, [0, 1, 2], **how)
    with pytest.raises(ValueError, match="functional calls"):
        attack_explanation(bridge.wrap(seeded(Functional)), x, [0, 1, 2], steps=2)
