"""Stability under noise and under attacks of the same size: closed forms, and who is left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.core.gradients import predict
from bridge.core.norms import linf_norm
from bridge.metrics._neighbours import gradient_attacks, neighbours
from bridge.metrics.measure import measure
from bridge.metrics.registry import get

RELATIVE = ["relative_input_stability", "relative_output_stability"]
METRICS = ["max_sensitivity", *RELATIVE]


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 5, 3)).double().eval()
    x = 0.2 + 0.6 * torch.rand(4, 2, 6, 5, dtype=torch.float64)
    model = bridge.wrap(module)
    return model, x, predict(model, x)


@pytest.mark.parametrize("perturbation", ["uniform", "adversarial", "explanation"])
@pytest.mark.parametrize("name", METRICS)
def test_the_gradient_of_a_linear_model_moves_under_nothing(linear, name, perturbation):
    found = measure(name, *linear, "saliency", perturbation=perturbation, radius=0.001)
    assert (found == 0).all()


@pytest.mark.parametrize("perturbation", ["uniform", "adversarial"])
def test_input_x_gradient_of_a_linear_model_changes_as_its_image_does(linear, perturbation):
    # (w x - w x') / (w x) = (x - x') / x, whatever the weights are.
    how = {"perturbation": perturbation, "radius": 0.001}
    found = measure("relative_input_stability", *linear, "input_x_gradient", **how)
    assert torch.allclose(found.as_subclass(Tensor), torch.ones(4).double(), rtol=1e-9)


def test_the_output_stability_of_a_linear_model_is_known(linear):
    model, x, _ = linear
    noise = 0.001 * torch.randn(3, *x.shape, dtype=torch.float64)
    found = measure("relative_output_stability", *linear, "input_x_gradient", noise=noise)
    moved = noise.flatten(2) @ model.module[1].weight.detach().T
    expected = (noise / x).flatten(2).norm(dim=2) / moved.norm(dim=2)
    assert torch.allclose(found.as_subclass(Tensor), expected.amax(0), rtol=1e-9)


@pytest.mark.parametrize("name", RELATIVE)
def test_images_that_change_their_prediction_are_left_out_and_of_no_others_it_is_nan(linear, name):
    model, x, target = linear
    still, away = 0.001 * torch.ones_like(x), 40 * (0.5 - x)
    flips = predict(model, x + away) != target
    assert flips.any()
    kept = measure(name, *linear, "input_x_gradient", noise=still[None])
    both = measure(name, *linear, "input_x_gradient", noise=torch.stack([away, still]))
    alone = measure(name, *linear, "input_x_gradient", noise=away[None])
    assert torch.equal(both[flips], kept[flips])
    assert torch.equal(alone.isnan(), flips)


@pytest.mark.parametrize("name", METRICS)
def test_a_map_that_is_zero_has_no_relative_change(linear, name):
    model, x, target = linear
    maps = torch.zeros_like(x)
    maps[0, 0, 0, 0] = 1.0
    found = measure(name, model, x, target, maps, explain="saliency")
    assert found.isnan().tolist() == [False, True, True, True]


def test_pixels_of_zero_are_left_out(linear):
    model, x, target = linear
    x = x.clone()
    x[:, :, 2] = 0
    noise = torch.full((1, *x.shape), 1e-4, dtype=torch.float64)
    found = measure("relative_input_stability", model, x, target, "input_x_gradient", noise=noise)
    assert torch.allclose(found.as_subclass(Tensor), torch.ones(4).double(), rtol=1e-9)


@pytest.mark.parametrize("perturbation", ["uniform", "adversarial", "explanation"])
def test_neighbours_are_no_further_than_the_radius(fashion, perturbation):
    model, x, labels = fashion
    near = neighbours(
        model, x, labels, radius=0.05, samples=3, noise=None, perturbation=perturbation
    )
    for each in near:
        assert (linf_norm(each - x) <= 0.05 + 1e-6).all()
        assert (linf_norm(each - x) > 0.04).all()
    if perturbation == "explanation":
        assert torch.equal(predict(model, near[0]), predict(model, x))


def test_attacks_are_found_by_their_tags():
    found = gradient_attacks()
    assert len(found) >= 3
    assert all(m.norm == "linf" and not m.random and not m.tags.control for m in found)


def test_an_attack_moves_a_coarse_map_further_than_noise_of_the_same_size(fashion):
    model, x, labels = fashion
    noise, attack = (
        measure("max_sensitivity", model, x, labels, "layer_gradcam", perturbation=each)
        for each in ("uniform", "adversarial")
    )
    assert (attack > noise).all()


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_the_batch_changes_nothing(fashion, name):
    model, x, labels = fashion
    order = torch.tensor([2, 0, 3, 1])
    noise = 0.02 * torch.randn(3, *x.shape)
    for how, turned in [
        ({"noise": noise}, {"noise": noise[:, order]}),
        ({"perturbation": "adversarial"},) * 2,
    ]:
        found = measure(name, model, x, labels, "saliency", **how)
        other = measure(name, model, x[order], labels[order], "saliency", **turned)
        assert torch.allclose(other.as_subclass(Tensor), found[order], rtol=1e-3, equal_nan=True)


@pytest.mark.parametrize("perturbation", ["uniform", "adversarial"])
@pytest.mark.parametrize("name", METRICS)
def test_what_it_costs_is_what_is_counted(fashion, name, perturbation):
    model, x, labels = fashion
    metric, how = get(name), {"perturbation": perturbation}
    found = measure(name, model, x, labels, "saliency", **how)
    assert found.forwards == len(x) * (metric.passes(784, **how) + metric.explanations(**how))


def test_noise_beside_an_attack_is_refused(linear):
    noise = torch.zeros(1, *linear[1].shape).double()
    for name in METRICS:
        with pytest.raises(ValueError, match="noise is for perturbation"):
            measure(name, *linear, "saliency", noise=noise, perturbation="adversarial")
