"""SmoothGrad on noise that was given: the same for everybody, and the same as its own draw."""

import pytest
import torch

import bridge
from tests.networks import Plain, images, seeded

LABELS = torch.tensor([0, 3, 3])
SAMPLES = 4


def model_and_images():
    return bridge.wrap(seeded(Plain).double(), mean=0.5, std=0.25), images().double()


def noise_of(x, samples=SAMPLES):
    return torch.randn(
        len(x), samples, *x.shape[1:], generator=torch.Generator().manual_seed(0)
    ).double()


def output(implementation, **params):
    model, x = model_and_images()
    return bridge.run(
        "smooth_grad", model, x, LABELS, implementation=implementation, n_samples=SAMPLES, **params
    ).output


@pytest.mark.parametrize("implementation", ["fused", "captum"])
def test_all_implementations_take_the_given_noise(implementation):
    noise = noise_of(images())
    expected = output("reference", noise=noise, stdev=0.3)
    found = output(implementation, noise=noise, stdev=0.3, seed=5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_given_noise_is_the_normal_numbers_that_it_would_draw_itself():
    x = images()
    torch.manual_seed(3)
    noise = torch.randn(len(x), SAMPLES, *x.shape[1:])
    own = output("reference", seed=3)
    assert torch.equal(output("reference", noise=noise.double()), own)


def test_no_noise_is_the_plain_gradient():
    model, x = model_and_images()
    expected = bridge.gradients.input_gradient(model, x, LABELS)
    found = output("reference", noise=torch.zeros_like(noise_of(x)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_noise_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"noise has shape \(3, 5, .*expected \(3, 4,"):
        output("reference", noise=noise_of(images(), 5))


@pytest.mark.parametrize("sentence", ["one sample whatever", "absolute gradients", "halved"])
def test_a_deviation_on_given_noise_is_recognised(sentence):
    variant = next(v for v in bridge.registry.get("smooth_grad").variants if sentence in v.sentence)

    def mine(model, x, target, *, n_samples=20, stdev=0.1, noise=None):
        return variant.function(model, x, target, n_samples=n_samples, stdev=stdev, noise=noise)

    report = bridge.check(mine, "smooth_grad")
    assert not report.passed
    assert sentence in report.cause
