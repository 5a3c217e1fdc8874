"""What code does where it says nothing is read off; what it is told and ignores is a deviation."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import bridge
from bridge import registry
from bridge.conformance import _prepare, check
from bridge.conformance.settings import Formula, in_words, told
from tests.examples.textbook import my_ig
from tests.networks import Plain, images, seeded


def ascent(size):
    """A BIM whose step is `size(eps, steps, alpha)`."""

    def attack(net, inputs, labels, eps=0.1, iters=5, alpha=0.02):
        adv = inputs.clone()
        for _ in range(iters):
            adv = adv.detach().requires_grad_()
            g = torch.autograd.grad(F.cross_entropy(net(adv), labels), adv)[0]
            adv = adv + size(eps, iters, alpha) * g.sign()
            adv = (inputs + (adv - inputs).clamp(-eps, eps)).clamp(0, 1)
        return adv.detach()

    return attack


def without_alpha(size):
    inner = ascent(lambda eps, iters, alpha: size(eps, iters))

    def attack(net, inputs, labels, eps=0.1, iters=5):
        return inner(net, inputs, labels, eps, iters)

    return attack


@pytest.mark.parametrize(
    "size, words",
    [
        (lambda eps, iters: 2 / 255, "step_size=2/255"),
        (lambda eps, iters: eps / 4, "step_size=epsilon / 4"),
        (lambda eps, iters: 2.5 * eps / iters, "step_size=2.5 epsilon / steps"),
        (lambda eps, iters: eps / iters, "step_size=epsilon / steps"),
    ],
)
def test_a_step_of_its_own_is_read_and_told(size, words):
    report = check(without_alpha(size), "bim")
    assert report.passed, str(report)
    assert words in report.called
    assert "ours defaults to step_size=epsilon / 5" in report.called


def test_a_step_that_it_is_told_and_ignores_is_a_deviation():
    report = check(ascent(lambda eps, iters, alpha: 2 / 255), "bim")
    assert not report.passed
    assert "`step_size`" in report.cause or "the step is 2/255" in report.cause


def test_a_step_that_the_user_stated_is_not_inferred():
    code = without_alpha(lambda eps, iters: eps / 4)
    assert not check(code, "bim", params={"step_size": 0.01}).passed
    assert check(without_alpha(lambda eps, iters: 0.01), "bim", params={"step_size": 0.01}).passed


def test_code_of_our_signature_states_what_it_does():
    def mine(model, x, labels, *, epsilon):
        return ascent(lambda eps, iters, alpha: eps / 4)(model, x, labels, epsilon, 7)

    report = check(mine, "bim")
    assert not report.passed
    rule = check(my_ig, "integrated_gradients")
    assert rule.cause.endswith("it is right: params={'method': 'riemann_left'}")


def test_steps_and_rule_of_a_path_are_read():
    def ig(net, inputs, targets):
        total = 0
        for k in range(9):
            z = (0.5 + (k + 1) / 9 * (inputs - 0.5)).requires_grad_()
            total = total + torch.autograd.grad(net(z).gather(1, targets[:, None]).sum(), z)[0]
        return (inputs - 0.5) * total / 9

    report = check(ig, "integrated_gradients")
    assert report.passed, str(report)
    for words in ("n_steps=9", "method=riemann_right", "baseline=0.5"):
        assert words in report.called


def test_a_form_that_is_refused_is_not_covered():
    def square(net, inputs, targets, size: int = 3):
        return bridge.registry.get("occlusion")(
            net, inputs, targets, window=int(size), stride=2, baseline=0.25
        )

    report = check(square, "occlusion")
    assert report.passed, str(report)
    skipped = [c for c in report.checks if c.status == "skipped" and "window=(4, 3)" in c.name]
    assert "not covered" in skipped[0].message
    assert "baseline=0.25" in report.called


def test_a_users_model_is_a_world_for_code_of_any_signature():
    model, batch = bridge.wrap(seeded(Plain)), (images(), [0, 1, 2])
    report = check(without_alpha(lambda eps, iters: eps / 4), "bim", model=model, batch=batch)
    assert report.passed, str(report)


def test_values_are_written_as_people_write_them():
    assert in_words(2 / 255) == "2/255"
    assert in_words(0.04) == "0.04"
    assert str(Formula(0.25)) == "epsilon / 4"
    assert str(Formula(2.5, over_steps=True)) == "2.5 epsilon / steps"
    subject, _ = _prepare(without_alpha(lambda e, n: e / 4), "bim", None, None, {}, 0, 10.0)
    assert told(subject).startswith("checked as bim with step_size=epsilon / 4, where")


def test_a_difference_is_shown_as_a_picture(tmp_path):
    report = check(registry.get("saliency").variants[0].function, "saliency")
    report.figure(tmp_path / "difference.png")
    assert (tmp_path / "difference.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png" in report._repr_html_()
    assert "should be: |d logit_t / d x|" in str(report)
    right = check(registry.get("saliency").reference, "saliency")
    with pytest.raises(ValueError, match="no difference"):
        right.figure(tmp_path / "none.png")
