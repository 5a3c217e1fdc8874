"""`bridge.check_model` finds what makes numbers on a model misleading, and says it in words."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from bridge.core.resizing import Resizing
from tests.networks import Plain, images, seeded


class Last(nn.Module):
    """A network, and a function of its logits and its images."""

    def __init__(self, change, inner: type[nn.Module] = Plain) -> None:
        super().__init__()
        self.inner, self.change = seeded(inner), change
        self.eval()

    def forward(self, x: Tensor):
        return self.change(self.inner, x)


def of_the_batch(inner, x):
    return inner(x) + x.mean()


def undefined(inner, x):
    return inner(x) + (x - x).sqrt().mean((1, 2, 3))[:, None]


def detached(inner, x):
    return inner(x.detach())


def flat(inner, x):
    return 0 * inner(x) + torch.arange(4.0).to(x)


def single(inner, x):
    return inner(x.float()) if x.dtype == torch.float32 else inner.float()(x.float())


def coarse(inner, x):
    return inner(x) if x.dtype == torch.float64 else inner(x).mul(20).round().div(20) + 0 * inner(x)


def probabilities(inner, x):
    return inner(x).softmax(1)


WRONG = {
    of_the_batch: "no function of one image: an image's logits depend on the other images",
    undefined: r"gradients are NaN or infinite on images \[0, 1, 2, 3\]",
    detached: "gradients do not reach the images",
    flat: r"gradients are zero everywhere on images \[0, 1, 2, 3\]",
    single: "in float64 it computes in float32 even so",
    probabilities: "it gives probabilities, a tensor: wrap it without that last step",
}


def reads_attention() -> set[str]:
    """The methods that a network without attention cannot have."""
    needs = {"attention", "tokens"}
    return {name for name in bridge.methods() if needs & bridge.registry.get(name).needs}


def test_a_sound_model_has_no_problem_and_every_method_runs_on_it():
    report = bridge.check_model(bridge.wrap(seeded(Plain), mean=0.4, std=0.3), images(6))
    assert report.passed
    assert report.images == (4, 3, 12, 12)
    assert (report.classes, report.gradients, report.float64) == (4, "finite", "the same")
    assert (report.relu_modules, report.relu_functions) == (2, 0)
    assert report.gap < 1e-5
    assert set(report.cannot_run) == reads_attention()
    assert report.mean == pytest.approx((0.4,))
    assert "Nothing stands in the way" in str(report) == repr(report)


@pytest.mark.parametrize("change", WRONG)
def test_what_makes_numbers_misleading_is_a_problem(change):
    report = bridge.check_model(Last(change), images(4))
    assert not report.passed
    (problem,) = report.problems
    with pytest.raises(AssertionError, match=WRONG[change]):
        raise AssertionError(problem)
    assert problem in str(report)


def test_other_logits_in_float64_are_a_problem():
    report = bridge.check_model(Last(coarse), images(4))
    assert any("in float64 its logits differ by" in problem for problem in report.problems)
    assert report.gap > 1e-3


class Answer(dict):
    """As Hugging Face's outputs are."""


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda inner, x: {"logits": inner(x)}, "the .logits of its dict"),
        (lambda inner, x: Answer(logits=inner(x)), "the .logits of its Answer"),
    ],
)
def test_the_form_of_the_output_is_told(change, said):
    report = bridge.check_model(Last(change), images(4))
    assert report.passed
    assert report.output == f"logits, {said}"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda inner, x: (inner(x), x), "returned a tuple of 2, expected a tensor"),
        (lambda inner, x: inner(x)[:, :1], "at least two classes"),
        (lambda inner, x: inner(x) * math.inf, "not finite"),
        (lambda inner, x: F.linear(x, torch.ones(2, 99)), "cannot take images"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(change, words):
    report = bridge.check_model(Last(change), images(4))
    assert words in report.error
    assert report.problems == (report.error,)
    assert report.error in str(report)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        bridge.check_model("resnet18")


def test_methods_that_lack_something_are_named_with_what_they_lack():
    report = bridge.check_model(nn.Sequential(nn.Flatten(), nn.Linear(432, 3)).eval(), images(4))
    needs = {n for n in bridge.methods() if {"layer", "relu"} & bridge.registry.get(n).needs}
    assert set(report.cannot_run) == needs | reads_attention()
    assert report.layer.startswith("none: ")
    lines = [line for line in str(report).splitlines() if "cannot run" in line]
    assert len(lines) < len(needs)  # the same reason is said once
    unreached = bridge.check_model(Last(detached), images(4))
    assert "saliency" in unreached.cannot_run
    assert "occlusion" not in unreached.cannot_run


def test_a_script_and_a_compiled_module_are_named():
    script = torch.jit.trace(seeded(Plain), images(4))
    report = bridge.check_model(script, images(4))
    assert report.kind == "a traced model (torch.jit.trace)"
    assert "layer_gradcam" in report.cannot_run
    compiled = bridge.check_model(torch.compile(seeded(Plain), backend="eager"), images(4))
    assert compiled.kind == "a compiled model (torch.compile)"
    assert set(compiled.cannot_run) == reads_attention()


def test_without_images_it_is_shown_photographs_that_it_takes():
    gray = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 5)).eval()
    report = bridge.check_model(bridge.wrap(gray, mean=[0.5], std=[0.2]))
    assert (report.error, report.images) == ("", (4, 1, 32, 32))
    report = bridge.check_model(seeded(Plain))
    assert report.images == (4, 3, 224, 224)
    assert report.pictures == "photographs in a size that was guessed"
    told = bridge.wrap(seeded(Plain), bounds=(-1, 1))
    told.resizing = Resizing(20, (16, 16))
    report = bridge.check_model(told)
    assert (report.images, report.pictures) == ((4, 3, 16, 16), "photographs")
    assert report.resizing == "resized to 20 (bilinear), cropped to 16 x 16"


def test_a_model_that_takes_no_usual_size_asks_for_images():
    odd = nn.Sequential(nn.Flatten(), nn.Linear(3 * 7 * 7, 5)).eval()
    report = bridge.check_model(odd)
    assert "it takes no image of 224, 32, 28" in report.error
    assert "pass images that it takes, x=" in report.error


def test_no_trace_is_left():
    module = seeded(Plain).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3)
    report = bridge.check_model(module, images(4))
    state = torch.random.get_rng_state()
    torch.manual_seed(3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert any("training mode" in remark for remark in report.remarks)


def test_images_that_were_seen_before_are_not_taken_for_these():
    model = bridge.wrap(seeded(Plain))
    bridge.run("saliency", model, images(4), [0, 1, 2, 3])
    report = bridge.check_model(model, 1 - images(4))
    assert report.passed
    assert report.gap < 1e-5
