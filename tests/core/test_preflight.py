"""Bad input gets a clear error or a warning: what was expected, what came, what to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import bridge
from tests.networks import Functional, Plain, Reused, images, seeded

LABELS = [0, 1, 2]


@pytest.fixture
def model():
    return bridge.wrap(seeded(Plain))


def saliency(model, x, labels=LABELS):
    return bridge.run("saliency", model, x, labels)


@pytest.mark.parametrize(
    "change, error, words",
    [
        (lambda x: x.numpy(), TypeError, "torch.Tensor"),
        (lambda x: (x * 255).to(torch.uint8), TypeError, "/ 255"),
        (lambda x: x[0], ValueError, r"x\[None\]"),
        (lambda x: x[:0], ValueError, "nothing in them"),
        (lambda x: x.masked_fill(x > 0.8, torch.nan), ValueError, "NaN"),
        (lambda x: x / 0, ValueError, "infinity"),
        (lambda x: x * 255, ValueError, "x / 255"),
        (lambda x: (x - 0.5) / 0.2, ValueError, "mean="),
        (lambda x: x * 1.5, ValueError, "bounds=\\("),
        (lambda x: x.double(), ValueError, "float32"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_the_remedy(model, change, error, words):
    with pytest.raises(error, match=words):
        saliency(model, change(images()))


def test_rounding_at_the_bounds_is_clipped_and_not_refused(model):
    x = images()
    x[0, 0, 0, 0] = 1 + 1.2e-7
    output = bridge.run("fgsm", model, x, LABELS, implementation="foolbox").output
    assert float(output.max()) <= 1


def test_images_that_track_gradients_are_detached(model):
    x = images().requires_grad_()
    assert not saliency(model, x).output.requires_grad
    assert x.grad is None
    with pytest.warns(bridge.BridgeWarning, match="detach"):
        saliency(model, x * 0.5)


@pytest.mark.parametrize(
    "labels, error, words",
    [
        ([0, 1], ValueError, "3 images"),
        (0, ValueError, "3 images"),
        (torch.tensor([[0], [1], [2]]), ValueError, "one an image"),
        ([0, 1, 4], ValueError, "4 classes"),
        ([0, -1, 2], ValueError, "-1"),
        ([0.0, 1.0, 2.0], TypeError, "integers"),
        (torch.tensor([True, False, True]), TypeError, "bool"),
        (["cat", "dog", "cat"], TypeError, "integers"),
        (None, TypeError, "integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused_and_never_broadcast(model, labels, error, words):
    with pytest.raises(error, match=words):
        saliency(model, images(), labels)


def test_labels_of_every_integer_kind_are_accepted(model):
    x = images()
    expected = saliency(model, x).output
    kinds = [
        np.array(LABELS),
        np.array(LABELS, dtype=np.int32),
        torch.tensor(LABELS, dtype=torch.uint8),
        tuple(LABELS),
    ]
    for labels in [*kinds, [np.int64(i) for i in LABELS]]:
        assert torch.equal(saliency(model, x, labels).output, expected)
    # Another batch size may take another kernel: float32 rounding of values near 1e-3.
    assert torch.allclose(saliency(model, x[:1], np.int64(0)).output, expected[:1], atol=1e-8)


@dataclass
class Output:
    logits: torch.Tensor


class Ends(nn.Module):
    """Plain, with something done to its logits."""

    def __init__(self, end):
        super().__init__()
        self.inner, self.end = seeded(Plain), end
        self.eval()

    def forward(self, x):
        return self.end(self.inner(x))


def test_outputs_with_logits_are_accepted():
    x, expected = images(), saliency(bridge.wrap(seeded(Plain)), images()).output
    for end in (Output, lambda z: {"logits": z, "loss": None}):
        model = bridge.wrap(Ends(end))
        assert torch.equal(saliency(model, x).output, expected)
        for implementation in ("reference", "foolbox"):
            assert (
                bridge.run(
                    "pgd", model, x, LABELS, implementation=implementation, steps=2
                ).output.shape
                == x.shape
            )


@pytest.mark.parametrize(
    "end, error, words",
    [
        (lambda z: (z, z), TypeError, "tuple of 2"),
        (lambda z: [z], TypeError, "list"),
        (lambda z: None, TypeError, "NoneType"),
        (lambda z: z * torch.nan, ValueError, "not finite"),
        (lambda z: z[:, 0], ValueError, "classes"),
        (lambda z: z[:, :1], ValueError, "two classes"),
        (lambda z: z[:, :, None, None], ValueError, "classes"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(end, error, words):
    with pytest.raises(error, match=words):
        saliency(bridge.wrap(Ends(end)), images())


def test_probabilities_are_warned_about():
    with pytest.warns(bridge.BridgeWarning, match="look like probabilities"):
        saliency(bridge.wrap(Ends(lambda z: z.softmax(1))), images())
    with pytest.warns(bridge.BridgeWarning, match="log-probabilities"):
        saliency(bridge.wrap(Ends(lambda z: z.log_softmax(1))), images())


def test_a_warning_points_at_the_users_own_line():
    with pytest.warns(bridge.BridgeWarning) as caught:
        bridge.run("saliency", bridge.wrap(Ends(lambda z: z.softmax(1))), images(), LABELS)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("method", ["guided_backprop", "deconvolution", "guided_gradcam"])
@pytest.mark.parametrize("implementation", ["reference", "captum"])
def test_guided_methods_refuse_a_model_without_relu_modules(method, implementation):
    with pytest.raises(ValueError, match="plain gradient"):
        bridge.run(
            method, bridge.wrap(seeded(Functional)), images(), LABELS, implementation=implementation
        )
    gelu = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    ).eval()
    with pytest.raises(ValueError, match=r"nn\.ReLU"):
        bridge.run(method, bridge.wrap(gelu), images(), LABELS, implementation=implementation)


class Biased(nn.Module):
    """A ReLU makes a position bias; none is on the image's way, as in Swin v2."""

    def __init__(self, on_the_way: bool = False) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
        self.bias = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4))
        self.act = nn.ReLU() if on_the_way else nn.GELU()

    def forward(self, x):
        cells = self.act(self.first(x))
        return self.head(cells.mean((2, 3)) + self.bias(torch.ones(2)))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvolution", "guided_gradcam"])
@pytest.mark.parametrize("implementation", ["reference", "captum", "fused"])
def test_guided_methods_refuse_a_model_whose_relus_no_image_goes_through(method, implementation):
    model = bridge.wrap(seeded(Biased))
    with pytest.raises(ValueError, match=r"no image goes through .* plain gradient"):
        bridge.run(method, model, images(), LABELS, implementation=implementation)
    model = bridge.wrap(seeded(Biased, on_the_way=True))
    plain = bridge.run("saliency", model, images(), LABELS).output
    guided = bridge.run(method, model, images(), LABELS, implementation=implementation).output
    assert not torch.allclose(plain, guided.abs())


def test_functional_relus_beside_modules_are_warned_about():
    with pytest.warns(bridge.BridgeWarning, match="2 of the 3 ReLUs"):
        bridge.run("guided_backprop", bridge.wrap(seeded(Functional, mixed=True)), images(), LABELS)


def test_a_layer_that_cannot_be_explained_is_refused():
    with pytest.raises(ValueError, match="no layer 'missing'"):
        bridge.wrap(seeded(Plain), layer="missing")
    with pytest.raises(ValueError, match="not a submodule"):
        bridge.wrap(seeded(Plain), layer=nn.ReLU())
    for layer, words in (("9", r"shape \(3, 4\)"), ("8", "convolutional")):
        with pytest.raises(ValueError, match=words):
            bridge.run("layer_gradcam", bridge.wrap(seeded(Plain), layer=layer), images(), LABELS)
    with pytest.raises(ValueError, match="runs 2 times"):
        bridge.run("layer_gradcam", bridge.wrap(seeded(Reused), layer="relu"), images(), LABELS)
    linear = bridge.wrap(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)).eval())
    with pytest.raises(ValueError, match="Grad-CAM needs one"):
        bridge.run("layer_gradcam", linear, images(), LABELS)


def test_wrapping_twice_and_wrapping_nonsense_are_refused():
    network = seeded(Plain)
    with pytest.raises(TypeError, match="normalise twice"):
        bridge.wrap(bridge.wrap(network))
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        bridge.wrap(lambda x: x)
    for options in (
        {"std": 0.0},
        {"std": (1, -1)},
        {"mean": torch.nan},
        {"bounds": (1, 0)},
        {"mean": ()},
    ):
        with pytest.raises(ValueError):
            bridge.wrap(network, **options)
    with pytest.raises(ValueError, match="mean and std have 2"):
        saliency(bridge.wrap(network, mean=(0.5, 0.5)), images())
    assert bridge.wrap(network).module is network


def test_the_adapter_normalises_once_and_computes_what_the_user_would():
    network, x = seeded(Plain), images()
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    by_hand = network((x - mean[:, None, None]) / std[:, None, None])
    assert torch.equal(bridge.wrap(network, mean=mean, std=std)(x), by_hand)
    bytes_ = bridge.wrap(network, mean=mean * 255, std=std * 255, bounds=(0, 255))
    assert torch.allclose(bytes_(x * 255), by_hand, atol=1e-5)  # float32 products of 255
    wide = bridge.run("pgd", bytes_, x * 255, LABELS, epsilon=8.0, steps=3)
    assert float(wide.output.max()) > 1
    assert float((wide.output - x * 255).abs().max()) <= 8.001


def test_unknown_names_and_parameters_are_refused_with_the_known_ones(model):
    with pytest.raises(KeyError, match="integrated_gradients"):
        bridge.run("ig", model, images(), LABELS)
    with pytest.raises(KeyError, match="captum"):
        bridge.run("saliency", model, images(), LABELS, implementation="foolbox")
    with pytest.raises(TypeError, match="n_steps=50"):
        bridge.run("integrated_gradients", model, images(), LABELS, steps=10)
    for bad in (
        {"methods": ["nope"]},
        {"implementations": ["nope"]},
        {"functions": {"nope": print}},
        {"params": {"nope": {}}},
        {"methods": ["fgsm"], "params": {"pgd": {}}},
    ):
        with pytest.raises(KeyError):
            bridge.compare(model, images(), LABELS, progress=False, **bad)
    with pytest.raises(TypeError, match="list of names"):
        bridge.compare(model, images(), LABELS, methods="fgsm", progress=False)
    with pytest.raises(ValueError, match="repeats"):
        bridge.compare(model, images(), LABELS, methods=["fgsm"], repeats=0, progress=False)


@pytest.mark.parametrize(
    "method, params",
    [
        ("fgsm", {"epsilon": -0.1}),
        ("pgd", {"steps": 0}),
        ("pgd", {"epsilon": float("nan")}),
        ("bim", {"step_size": -1.0}),
        ("pgd", {"restarts": 0}),
        ("pgd", {"random_start": False, "restarts": 2}),
        ("pgd", {"start": torch.zeros(1)}),
        ("deepfool_l2", {"candidates": 1}),
        ("deepfool_l2", {"overshoot": -1.0}),
        ("fgsm", {"epsilon": []}),
        ("integrated_gradients", {"n_steps": 0}),
        ("integrated_gradients", {"method": "simpson"}),
        ("integrated_gradients", {"method": "riemann_trapezoid", "n_steps": 1}),
        ("occlusion", {"window": 13}),
        ("occlusion", {"window": 3, "stride": 4}),
        ("occlusion", {"window": 0}),
        ("occlusion", {"window": (1, 2, 3)}),
        ("smooth_grad", {"n_samples": 0}),
        ("smooth_grad", {"stdev": -1.0}),
        ("guided_gradcam", {"interpolation": "bilinaer"}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(model, method, params):
    with pytest.raises(ValueError):
        bridge.run(method, model, images(), LABELS, **params)


def test_a_function_that_would_ignore_a_parameter_is_not_run_with_it(model):
    def fgsm(model, x, labels, *, epsilon):
        return x

    assert bridge.run("fgsm", model, images(), LABELS, implementation=fgsm).implementation == "fgsm"
    with pytest.raises(bridge.Unsupported, match="targeted=True"):
        bridge.run("fgsm", model, images(), LABELS, implementation=fgsm, targeted=True)


@pytest.mark.parametrize(
    "returned", [None, 3, lambda x: x.numpy(), lambda x: x[:1], lambda x: x[..., :2]]
)
def test_an_implementation_that_returns_something_else_is_named(model, returned):
    def mine(model, x, labels, *, epsilon):
        return returned(x) if callable(returned) else returned

    with pytest.raises((TypeError, ValueError), match="mine returned"):
        bridge.run("fgsm", model, images(), LABELS, implementation=mine)
