"""Class images are what the network looks for: it says so itself, and they survive being moved."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import bridge
from bridge.training import PRESETS, Priors, class_image
from bridge.training.canvas import Spectrum
from bridge.training.priors import blurred, moved
from tests.networks import Linear, Plain, images, seeded

SHAPE = (1, 28, 28)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_class_of_the_embedded_model_is_drawn_and_recognised(preset):
    model = bridge.load_model("zoo:fashion_cnn")
    drawn = class_image(model, range(10), shape=SHAPE, preset=preset)
    assert drawn.images.shape == (10, *SHAPE)
    assert float(drawn.images.min()) >= 0
    assert float(drawn.images.max()) <= 1
    confidence = model(drawn.images).detach().softmax(1)[torch.arange(10), drawn.targets]
    assert float(confidence.min()) > 0.9, confidence
    assert bool((drawn.scores[-1] > drawn.scores[0]).all())


def test_images_for_squeezenet_keep_their_class_when_moved_resized_and_blurred(squeezenet):
    model, _, _ = squeezenet
    drawn = class_image(model, [1, 130, 207], shape=(3, 224, 224), preset="fourier", steps=32)
    kept = 0
    for shift in (-11, 7):
        rolled = drawn.images.roll((shift, -shift), (2, 3))
        small = nn.functional.interpolate(rolled, (192, 192), mode="bilinear", antialias=True)
        seen = blurred(nn.functional.interpolate(small, (224, 224), mode="bilinear"), 0.5)
        kept += int((model(seen.clamp(0, 1)).argmax(1) == drawn.targets).sum())
    assert kept >= 5, kept  # of six


def test_the_plain_ascent_follows_the_gradient():
    model = bridge.wrap(seeded(Linear).double(), bounds=(-100, 100))
    start = images(2, (2, 4, 5)).double()
    drawn = class_image(
        model, [0, 2], start=start, preset="simonyan", gradient="plain", l2=0.0, steps=3, rate=0.01
    )  # a step is rate * range * gradient, and the gradient of a linear logit is its weights
    expected = start + 3 * 0.01 * 200 * model.module.weights_of(torch.tensor([0, 2]))
    torch.testing.assert_close(drawn.images, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        drawn.scores[0], model(start)[[0, 1], [0, 2]].detach(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("prior", ["l2", "l1", "tv"])
def test_penalties_lower_what_they_penalise(prior):
    model = bridge.load_model("zoo:fashion_cnn")

    def measured(weight: float) -> Tensor:
        x = class_image(
            model, [3], shape=SHAPE, preset="simonyan", steps=40, **{"l2": 0.0, prior: weight}
        ).images
        away = x - 0.5
        return {
            "l2": away.square().mean(),
            "l1": away.abs().mean(),
            "tv": x.diff(dim=3).abs().mean(),
        }[prior]

    assert measured(200.0) < 0.8 * measured(0.0)


def test_blur_is_a_periodic_gaussian():
    x = torch.zeros(1, 2, 9, 9, dtype=torch.float64)
    x[0, :, 0, 0] = 1
    found = blurred(x, 1.0)
    torch.testing.assert_close(found.sum((2, 3)), torch.ones(1, 2, dtype=torch.float64))
    assert found[0, 0, 0, 8] == pytest.approx(float(found[0, 0, 0, 1]))  # round the edge
    assert float(found[0, 0, 0, 1] / found[0, 0, 0, 0]) == pytest.approx(2.718281828 ** (-0.5))


def test_jitter_only_rolls_and_colour_only_recolours():
    x = images(2)
    rolled = moved(x, Priors(jitter=0.2), 1.0)
    assert torch.equal(rolled.flatten(2).sort().values, x.flatten(2).sort().values)
    recoloured = moved(x, Priors(colour=0.1), 1.0)
    assert not torch.equal(recoloured, x)
    slope = recoloured.flatten(2).diff() / x.flatten(2).diff()
    assert float(slope.std(dim=2).max()) < 1e-2  # one gain a channel


@pytest.mark.parametrize("channels", [1, 3])
def test_the_spectrum_begins_at_the_given_images(channels):
    x = images(2, (channels, 10, 13))
    torch.testing.assert_close(Spectrum(x, (0.0, 1.0), 0.05).result(), x, rtol=0, atol=1e-4)


def test_images_are_moved_towards_a_class(fashion):
    model, x, labels = fashion
    wanted = (labels + 1) % 10
    drawn = class_image(model, wanted, start=x, preset="yosinski", steps=60)
    assert bool((model(drawn.images).argmax(1) == wanted).all())
    towards_one = class_image(model, 4, start=x, steps=2)
    assert towards_one.targets.tolist() == [4] * 4


def test_layers_channels_and_neurons_are_climbed():
    model = bridge.wrap(seeded(Plain))
    for given in ({}, {"channel": 2}, {"channel": 2, "neuron": (1, 2)}):
        drawn = class_image(
            model, layer="4", shape=(3, 12, 12), steps=12, preset="simonyan", **given
        )
        assert float(drawn.scores[-1]) > float(drawn.scores[0])
    with pytest.raises(ValueError, match="there is no channel 99"):
        class_image(model, layer="4", channel=99, shape=(3, 12, 12), steps=1)


def test_seeds_are_batched_and_repeatable_and_leave_no_trace():
    model = bridge.load_model("zoo:fashion_cnn")
    state = torch.get_rng_state()
    first = class_image(model, [1, 7], shape=SHAPE, n=3, steps=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.targets.tolist() == [1, 1, 1, 7, 7, 7]
    assert not torch.equal(first.images[0], first.images[1])
    assert torch.equal(first.images, class_image(model, [1, 7], shape=SHAPE, n=3, steps=5).images)
    assert not torch.equal(
        first.images, class_image(model, [1, 7], shape=SHAPE, n=3, steps=5, seed=1).images
    )
    assert all(p.grad is None for p in model.parameters())


def test_the_way_is_kept_as_a_film(tmp_path):
    model = bridge.load_model("zoo:fashion_cnn")
    drawn = class_image(model, [1, 7], shape=SHAPE, steps=10, frames_every=3)
    assert drawn.frames.shape == (5, 2, *SHAPE)  # steps 0, 3, 6, 9 and the end
    with Image.open(drawn.film(tmp_path / "film.gif")) as film:
        assert film.n_frames == 5
        assert film.size == (56, 28)
    with pytest.raises(ValueError, match="pass frames_every="):
        class_image(model, 1, shape=SHAPE, steps=1).film(tmp_path / "none.gif")


def test_class_images_say_what_makes_no_sense():
    model = bridge.load_model("zoo:fashion_cnn")
    with pytest.raises(ValueError, match="unknown preset 'deep'"):
        class_image(model, 1, shape=SHAPE, preset="deep")
    with pytest.raises(TypeError, match="no prior 'blurr'"):
        class_image(model, 1, shape=SHAPE, blurr=1)
    with pytest.raises(ValueError, match="either shape="):
        class_image(model, 1)
    with pytest.raises(ValueError, match="0 to 9"):
        class_image(model, 10, shape=SHAPE)
    with pytest.raises(ValueError, match="pass a target class"):
        class_image(model, shape=SHAPE)
    with pytest.raises(ValueError, match="has no layer 'conv9'"):
        class_image(model, layer="conv9", shape=SHAPE)
    with pytest.raises(ValueError, match="unknown gradient"):
        class_image(model, 1, shape=SHAPE, gradient="natural")
