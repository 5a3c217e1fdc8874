"""Whatever people have is called as it wants to be, or refused with what to do."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bridge
from bridge.calling import Called, Refused, understand
from bridge.conformance import check
from bridge.core.registry import get
from tests.networks import Plain, images, seeded

SMALL = nn.Sequential(nn.Flatten(), nn.Linear(3 * 10 * 8, 4))


def ascend(model, x, y, eps):
    x = x.detach().clone().requires_grad_()
    F.cross_entropy(model(x), y).backward()
    return (x + eps * x.grad.sign()).clamp(0, 1).detach()


def fgsm_of_gradient(image, epsilon, data_grad):
    return torch.clamp(image + epsilon * data_grad.sign(), 0, 1)


def fgsm_positional(net, a, b, eps):
    return ascend(net, a, b, eps)


def fgsm_one_image(model, image, label: int, epsilon=0.1):
    return ascend(model, image, torch.tensor([label]), epsilon)


def fgsm_numpy(model, x: np.ndarray, y: np.ndarray, eps: float) -> np.ndarray:
    return ascend(model, torch.from_numpy(x), torch.from_numpy(y), eps).numpy()


def fgsm_channels_last(model, img, label, eps):
    chw = np.asarray(img, dtype=np.float32).transpose(2, 0, 1)
    moved = ascend(model, torch.from_numpy(chw)[None], torch.tensor([label]), eps)
    return moved[0].numpy().transpose(1, 2, 0)


def fgsm_in_bits(model, images, labels, eps=8):
    return ascend(model, images, labels, eps / 255)


def fgsm_in_place(model, images, labels, eps):
    images.copy_(ascend(model, images, labels, eps))


model = SMALL  # as a notebook's global


def fgsm_of_a_global(x, y, eps=0.03):
    return ascend(model, x, y, eps)


class Attack:
    """As torchattacks'."""

    def __init__(self, model, eps=8 / 255):
        self.model, self.eps = model, eps

    def __call__(self, images, labels):
        return ascend(self.model, images, labels, self.eps)


class Module(nn.Module):
    def __init__(self, model, eps=8 / 255):
        super().__init__()
        self.model, self.eps = model, eps

    def forward(self, images, labels):
        return ascend(self.model, images, labels, self.eps)


class Criterion:
    """As Foolbox's."""

    def __call__(self, fmodel, inputs, criterion, *, epsilons):
        moved = ascend(fmodel, inputs, criterion.labels, epsilons)
        return moved, moved, torch.ones(len(inputs), dtype=torch.bool)


@pytest.mark.parametrize(
    "code",
    [
        fgsm_of_gradient,
        fgsm_positional,
        fgsm_one_image,
        fgsm_numpy,
        fgsm_channels_last,
        fgsm_in_bits,
        fgsm_in_place,
        fgsm_of_a_global,
        functools.partial(fgsm_positional, eps=0.07),
        Attack,
        Attack(SMALL, eps=0.1),
        Module,
        Module(SMALL, eps=0.1),
        Criterion,
        Criterion(),
    ],
    ids=lambda code: getattr(code, "__name__", type(code).__name__),
)
def test_a_right_attack_passes_however_it_is_called(code):
    report = check(code, "fgsm")
    assert report.passed, str(report)
    assert report.called.startswith("called as ")
    assert report.called in str(report)


class Maps:
    """As Captum's."""

    def __init__(self, forward_func, multiply_by_inputs=True):
        self.f = forward_func

    def attribute(self, inputs, target=None, abs=True):
        inputs = inputs.clone().requires_grad_()
        out = self.f(inputs)[torch.arange(len(inputs)), target]
        return torch.autograd.grad(out.sum(), inputs)[0].abs()


class Cams(nn.Module):
    """As pytorch-grad-cam's, without its scaling."""

    def __init__(self, model, target_layers):
        super().__init__()
        self.model, self.target_layers = model, target_layers

    def forward(self, input_tensor, targets=None):
        store = {}
        keep = self.target_layers[-1].register_forward_hook(lambda m, i, o: store.update(a=o))
        outputs = self.model(input_tensor)
        keep.remove()
        score = sum(target(out) for target, out in zip(targets, outputs, strict=True))
        weights = torch.autograd.grad(score, store["a"])[0].mean((2, 3), keepdim=True)
        return (weights * store["a"]).sum(1).detach().numpy()


@pytest.mark.parametrize(
    "code, method",
    [
        (Maps, "saliency"),
        (Maps(SMALL), "saliency"),
        (Cams, "layer_gradcam"),
        (Cams(SMALL, [SMALL[1]]), "layer_gradcam"),
    ],
)
def test_a_right_attribution_passes_as_a_class_and_as_an_object(code, method):
    report = check(code, method)
    assert report.passed, str(report)


def test_captums_foolboxs_objects_are_taken_as_they_are():
    from captum.attr import Occlusion, Saliency
    from foolbox.attacks import LinfPGD

    assert check(Saliency(SMALL), "saliency").passed
    assert check(Occlusion, "occlusion").passed
    assert check(LinfPGD(steps=4), "pgd").passed


def test_torchattacks_and_zennits_are_taken_as_they_are():
    torchattacks = pytest.importorskip("torchattacks")
    attribution = pytest.importorskip("zennit.attribution")
    assert check(torchattacks.PGD(SMALL, eps=0.03, alpha=0.01, steps=7), "pgd").passed
    assert "signed gradient" in check(attribution.Gradient, "saliency").cause


def test_what_was_understood_is_said():
    found = understood(Module(SMALL), "fgsm")
    assert str(found) == (
        "called as Module(images, labels), the whole batch at once; `.eps` is the epsilon; "
        "its own model is replaced"
    )
    assert found.tells == {"epsilon": "eps"}


@pytest.mark.parametrize(
    "code, words",
    [
        (3.0, "function, a class"),
        (lambda model, images, labels, eps, mask_rcnn: images, "mask_rcnn"),
        (lambda model, y, eps: y, "images"),
        (lambda images, labels: images, "takes no model"),
        (SimpleNamespace(), "function, a class"),
        (lambda net, images, labels: net.layer4(images), "layer4"),
        (lambda net, images, labels: "done", "returned str"),
    ],
)
def test_what_cannot_be_called_is_refused_with_what_to_do(code, words):
    with pytest.raises(Refused, match=words):
        understood(code, "fgsm")
    with pytest.raises(TypeError, match=words):
        check(code, "fgsm")


def test_code_of_our_signature_is_left_as_it_is():
    def mine(model, x, labels, *, epsilon):
        return x

    assert understood(mine, "fgsm") is mine
    assert understood(get("fgsm"), "fgsm") is get("fgsm")


def test_nothing_is_left_on_the_model_and_the_images():
    model, x = bridge.wrap(seeded(Plain)), images()
    found = understood(fgsm_positional, "fgsm")
    assert isinstance(found, Called)
    found(model, x, torch.tensor([0, 1, 2]), epsilon=0.1)
    assert all(p.grad is None for p in model.parameters())
    assert not x.requires_grad


def test_compare_takes_it_too():
    model, x = bridge.wrap(seeded(Plain)), images()
    c = bridge.compare(
        model,
        x,
        [0, 1, 2],
        methods=["fgsm", "saliency"],
        implementations=["reference"],
        functions={"fgsm": [Attack, fgsm_one_image], "saliency": Maps(SMALL)},
        repeats=1,
        progress=False,
    )
    assert not len(c.failures)
    verdicts = c.verdicts()
    assert verdicts.loc["fgsm", "Attack"] == verdicts.loc["fgsm", "fgsm_one_image"] == "equal"
    assert any("Attack(model, eps)" in line for line in c.manifest["called"])


def test_parametrize_takes_it_too():
    mark = bridge.conformance.parametrize(fgsm=Attack)
    case = next(p for p in mark.args[1] if "agreement" in p.id)
    case.values[0]()


def understood(code, method):
    model, x = bridge.wrap(seeded(Plain)), images()
    return understand(code, get(method), model, x, torch.tensor([0, 1, 2]))
