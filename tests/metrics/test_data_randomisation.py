"""Of networks that learnt labels, true or shuffled: maps that are alike show the image only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bridge
from bridge.core.gradients import predict
from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.zoo.shuffled import shuffled_pair


def bars(n: int):
    """Images of bright bars on black, across or down, somewhere."""
    own = torch.Generator().manual_seed(0)
    labels, x = torch.arange(n) % 2, torch.zeros(n, 1, 14, 14)
    for image, label, at in zip(x, labels, torch.randint(1, 11, (n,), generator=own), strict=True):
        stripe = 0.5 + 0.5 * torch.rand(3, 14, generator=own)
        bar = torch.zeros(14, 14)
        bar[at : at + 3] = stripe
        image[0] = bar if label else bar.T
    return x, labels


@pytest.fixture(scope="module")
def world():
    x, labels = bars(84)
    return shuffled_pair(x[:64], labels[:64]), x[64:], labels[64:]


def test_one_learnt_what_there_is_to_learn_and_the_other_learnt_by_heart(world):
    pair, x, labels = world
    assert pair.learnt > 0.95
    assert pair.memorised > 0.95
    assert (predict(pair.module, x) == labels).float().mean() > 0.9
    assert (predict(pair.shuffled, x) == labels).float().mean() < 0.8  # what it never saw
    state = torch.get_rng_state()
    x, labels = bars(32)
    first, second = (shuffled_pair(x, labels) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(first.shuffled.parameters(), second.shuffled.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_product_with_the_image_looks_the_same_whatever_was_learnt(world):
    # Adebayo et al. 2018, section 4.2: input x gradient shows the image, to the eye.
    pair, x, labels = world
    found = {
        name: measure("data_randomisation", pair.module, x, labels, name, shuffled=pair.shuffled)
        for name in ("input_x_gradient", "saliency", "layer_gradcam")
    }
    means = {name: float(values.nanmean()) for name, values in found.items()}
    assert means["input_x_gradient"] > 0.8
    assert max(means["saliency"], means["layer_gradcam"]) < means["input_x_gradient"] - 0.2
    how = {"shuffled": pair.shuffled, "similarity": "cosine"}  # with their signs they differ
    signed = measure("data_randomisation", pair.module, x, labels, "input_x_gradient", **how)
    assert signed.mean() < 0.5


def test_of_one_model_and_of_a_map_of_no_model_everything_stays(world):
    pair, x, labels = world
    same = measure("data_randomisation", pair.module, x, labels, "saliency", shuffled=pair.module)
    assert torch.allclose(same, torch.ones(len(x)).double())
    image = baseline_maps(x)["image"]
    found = measure(
        "data_randomisation", pair.module, x, labels, image, shuffled=pair.shuffled,
        explain=lambda model, x, target: baseline_maps(x)["image"],
    )  # fmt: skip
    assert torch.allclose(found, torch.ones(len(x)).double())


def test_the_shuffled_model_is_taken_as_the_other_one_is_and_left_as_it_was(world):
    pair, x, labels = world
    model = bridge.wrap(pair.module, mean=0.5, std=0.25)
    plain = measure("data_randomisation", model, x, labels, "saliency", shuffled=pair.shuffled)
    wrapped = measure(
        "data_randomisation", model, x, labels, "saliency",
        shuffled=bridge.wrap(pair.shuffled, mean=0.5, std=0.25),
    )  # fmt: skip
    assert torch.equal(plain, wrapped)
    assert all(p.grad is None and p.requires_grad for p in pair.shuffled.parameters())


def test_what_makes_no_sense_is_refused(world):
    pair, x, labels = world
    ask = [pair.module, x, labels, "saliency"]
    with pytest.raises(TypeError, match="needs shuffled="):
        measure("data_randomisation", *ask)
    with pytest.raises(TypeError, match="must be a model"):
        measure("data_randomisation", *ask, shuffled="resnet18")
    other = nn.Sequential(nn.Flatten(), nn.Linear(196, 5)).eval()
    with pytest.raises(ValueError, match="2 classes, the shuffled one 5"):
        measure("data_randomisation", *ask, shuffled=other)
    with pytest.raises(ValueError, match=r"knows \d+% of the shuffled labels"):
        shuffled_pair(*bars(60), epochs=1)
    with pytest.raises(ValueError, match="two classes or more"):
        shuffled_pair(x, torch.zeros(len(x)).long())


def test_a_comparison_takes_it_too(world, tmp_path):
    pair, x, labels = world
    c = bridge.compare(
        pair.module, x[:4], labels[:4], methods=["saliency"], implementations=["reference"],
        metrics={"data_randomisation": {"shuffled": pair.shuffled}}, repeats=1, progress=False,
    )  # fmt: skip
    assert c.failures.empty
    assert len(c.metrics) == 4
    c.save(tmp_path / "run")
