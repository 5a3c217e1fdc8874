"""A recipe followed as it stands is the method; with a deviation, what its sentence says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import bridge
from bridge.conformance.loop_deviations import CLIPS, LOOPS
from bridge.conformance.recipe import Detailed, follow, standard
from bridge.conformance.step_deviations import DIRECTIONS, LOSSES, SIZES
from bridge.conformance.subject import Subject
from bridge.conformance.worlds import base, worlds
from bridge.core.gradients import loss_gradient
from bridge.core.norms import unit_l1

FAMILY = [name for name in bridge.methods("attack") if bridge.registry.get(name).tags.recipe]
EXACT = {"rtol": 0, "atol": 1e-12}


def subject(name: str) -> Subject:
    method = bridge.registry.get(name)
    return Subject(method.reference, method, {}, 10.0)


def places(name: str):
    method = bridge.registry.get(name)
    return worlds(method, base(method), 0)


def test_the_gradient_attacks_state_their_recipes():
    assert {"fgsm", "fgm_l2", "fast_gradient_value", "bim", "pgd", "pgd_l2"} <= set(FAMILY)


@pytest.mark.parametrize("name", FAMILY)
def test_a_recipe_followed_as_it_stands_is_the_method(name):
    same = subject(name)
    varied = [{}, {"targeted": True}] if "targeted" in same.method.defaults else [{}]
    for place in places(name):
        for params in varied:
            world = replace(place, params={**place.params, **params})
            found = follow(standard(same, world), world)
            assert torch.allclose(found, same.reference(world), **EXACT), (place.name, params)


@pytest.mark.parametrize("name", FAMILY)
def test_every_deviation_gives_images_or_says_that_it_cannot(name):
    world = places(name)[0]
    recipe = standard(subject(name), world)
    for each in (*LOSSES, *CLIPS, *SIZES, *LOOPS, *DIRECTIONS):
        changed = each.change(recipe, world)
        if changed is not None:
            assert follow(changed, world).shape == world.x.shape, each.sentence


def test_no_sentence_is_said_of_two_deviations():
    for group in (LOSSES, CLIPS, SIZES, LOOPS, DIRECTIONS):
        sentences = [each.sentence for each in group]
        assert len(sentences) == len(set(sentences))


MOMENTUM = {
    "it has no momentum: each step follows its own gradient alone": (0.0, unit_l1),
    "it adds the gradient to its momentum without normalising it": (0.7, lambda g: g),
    "its momentum's decay is always 1": (1.0, unit_l1),
    "its momentum's decay is always 0.9": (0.9, unit_l1),
}


@pytest.mark.parametrize("sentence", MOMENTUM)
def test_of_an_attack_with_momentum_its_momentum_can_be_wrong(sentence):
    decay, norm = MOMENTUM[sentence]
    world = places("bim")[0]
    plain = standard(subject("bim"), world)
    recipe: Detailed = replace(plain, momentum=0.7, momentum_norm=unit_l1)
    deviations = {each.sentence: each for each in LOOPS}
    changed = deviations[sentence].change(recipe, world)
    assert changed is not None
    adversarial, velocity = world.x, torch.zeros_like(world.x)
    with bridge.frozen(world.model):
        for _ in range(recipe.steps):
            g = norm(loss_gradient(world.model, adversarial, world.target))
            velocity = decay * velocity + g
            moved = adversarial + recipe.step * velocity.sign() - world.x
            adversarial = (world.x + moved.clamp(-recipe.epsilon, recipe.epsilon)).clamp(0, 1)
    assert torch.allclose(follow(changed, world), adversarial, **EXACT)
    assert not torch.allclose(follow(recipe, world), adversarial, **EXACT)
    assert deviations[sentence].change(plain, world) is None  # it has none that could be wrong
    assert deviations["it adds momentum (decay 1)"].change(recipe, world) is None
