"""Where the truth was planted, it is where we say, and methods are seen to find it or not."""

from __future__ import annotations

import pytest
import torch

import bridge
from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.zoo.planted import place_triggers, planted, two_objects


@pytest.fixture(scope="module")
def world():
    """Images of two simple classes, bars across and bars down, with noise."""
    own = torch.Generator().manual_seed(0)
    n = 600
    labels = torch.arange(n) % 2
    x = 0.3 * torch.rand(n, 1, 20, 20, generator=own)
    x[labels == 0, :, 8:12, :] += 0.5
    x[labels == 1, :, :, 8:12] += 0.5
    return planted(x, labels, epochs=3, unseen=60)


def test_the_trigger_alone_decides_and_stands_where_the_mask_is(world):
    model = bridge.wrap(world.module)
    assert world.kept > 0.9
    assert world.accuracy > 0.9
    assert (model(world.x).argmax(1) == 2).all()
    assert (model(world.clean).argmax(1) != 2).all()
    assert torch.equal((world.x != world.clean).any(1) | world.masks, world.masks)
    assert (world.masks.flatten(1).sum(1) == 25).all()


def test_attributions_find_it_and_what_looks_at_no_model_does_not(world):
    x, target, masks = world.x[:24], world.target[:24], world.masks[:24]
    model = bridge.wrap(world.module)
    hits = {
        name: float(measure("pointing_game", model, x, target, name, masks=masks).mean())
        for name in ("saliency", "occlusion")
    }
    area = 25 / 400
    for maps in baseline_maps(x).values():
        control = float(measure("pointing_game", model, x, target, maps, masks=masks).mean())
        assert control < min(hits.values())
    assert min(hits.values()) > 5 * area


def test_training_leaves_the_random_state_and_repeats_itself():
    own = torch.Generator().manual_seed(1)
    x = torch.rand(80, 1, 12, 12, generator=own)
    labels = torch.arange(80) % 2
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="follows the trigger in"):
        planted(x, labels, epochs=1, unseen=40)
    assert torch.equal(before, torch.get_rng_state())
    first, second = (place_triggers(x, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    with pytest.raises(ValueError, match="more than 100 images of 12 pixels"):
        planted(x, labels)


def test_canvases_hold_two_classes_and_the_truth_is_the_left_half():
    x, labels = torch.rand(7, 3, 6, 5), torch.tensor([0, 1, 2, 2, 1, 0, 3])
    canvas, target, masks = two_objects(x, labels)
    assert canvas.shape == (2, 3, 6, 10)
    assert target.tolist() == [0, 1]
    assert torch.equal(canvas[1, :, :, :5], x[4])
    assert masks[:, :, :5].all()
    assert not masks[:, :, 5:].any()


def test_guided_backprop_barely_notices_that_the_head_was_randomised():
    # Adebayo et al. 2018, figure 2: as published, and seen here on the embedded network.
    model = bridge.load_model("zoo:fashion_cnn")
    x, labels = bridge.load_batch("samples:fashion_mnist", 4)
    how = {"order": "cascading"}
    guided, plain, cam = (
        measure("parameter_randomisation", model, x, labels, name, **how).curve.values[:, 0].mean()
        for name in ("guided_backprop", "saliency", "layer_gradcam")
    )
    assert guided > plain + 0.1
    assert guided > cam
    assert (measure("random_logit", model, x, labels, "saliency") < 1).all()
