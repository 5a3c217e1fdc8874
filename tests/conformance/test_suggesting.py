"""A report says what to change, cause by cause, at the level of the equation."""

import pytest
import torch

import bridge
from bridge.core.gradients import input_gradient, loss_gradient
from bridge.core.registry import get


def without_clip(model, x, target, *, epsilon=0.03):
    return x + epsilon * loss_gradient(model, x, target)


def summed(model, x, target):
    return input_gradient(model, x, target).abs().sum(1, keepdim=True).expand_as(x)


def test_each_cause_of_an_attack_has_its_own_change():
    report = bridge.check(without_clip, "fgsm")
    direction, clip = sorted(report.edits, key=lambda edit: edit.ours)
    assert (direction.yours, direction.ours) == ("d = g itself", "d = sign(g)")
    assert (clip.yours, clip.ours) == ("no clip", "x'.clamp(0, 1)")
    assert clip.change == "end each step with x'.clamp(0, 1)"
    assert "  change: step along d = sign(g)" in str(report)


def test_what_is_done_to_a_map_is_shown_as_code():
    (edit,) = bridge.check(summed, "saliency").edits
    assert edit.yours == "m.sum(1, keepdim=True).expand_as(m)"


def test_nothing_is_suggested_where_nothing_is_wrong_or_known():
    assert bridge.check(get("saliency").reference, "saliency").edits == ()

    def odd(model, x, target):
        return torch.sin(input_gradient(model, x, target) * 7)

    assert bridge.check(odd, "saliency").edits == ()


@pytest.mark.parametrize("name", sorted(bridge.methods()))
def test_every_known_deviation_has_both_equations(name):
    for variant in get(name).variants:
        assert variant.edit is not None
        edit = variant.edit()
        assert edit.yours
        assert edit.ours
