"""Attacks within a mask: nothing outside changes, and inside it is the attack on what is left."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bridge
from bridge.core.registry import get, methods
from tests.networks import Plain, images, seeded

EVERY = [(name, by) for name in methods("attack") for by in get(name).implementations()]


def masks(x):
    """Another rectangle for each image."""
    mask = torch.zeros(len(x), *x.shape[2:], dtype=torch.bool)
    for i in range(len(x)):
        mask[i, i : i + 4, 2 : 6 + i] = True
    return mask


@pytest.mark.parametrize("name, by", EVERY, ids=lambda each: each)
def test_nothing_outside_changes_and_each_image_is_attacked_as_alone(name, by):
    model, x = bridge.wrap(seeded(Plain).double()), images(3).double()
    labels, mask = model(x).argmax(1), masks(x)
    method = get(name)
    how = {"implementation": by, **method.small("tiny", 12)}
    found = bridge.run(name, model, x, labels, mask=mask, **how).output
    assert torch.equal(found.where(~mask[:, None], x), x)
    inside = (found != x).any(1) & mask
    assert inside.flatten(1).any(1).all()
    if not method.random:
        for i in range(3):
            one = slice(i, i + 1)
            alone = bridge.run(name, model, x[one], labels[one], mask=mask[one], **how).output
            assert torch.allclose(found[one], alone, atol=1e-9)


@pytest.mark.parametrize("name", methods("attack"))
def test_implementations_agree_within_a_mask_as_they_do_without(name):
    model, x = bridge.wrap(seeded(Plain).double()), images(3).double()
    labels, mask = model(x).argmax(1), masks(x)
    method = get(name)
    small = method.small("tiny", 12)
    full = torch.ones_like(mask)
    for by in method.implementations():
        whole = bridge.run(name, model, x, labels, implementation=by, **small).output
        same = bridge.run(name, model, x, labels, implementation=by, mask=full, **small).output
        assert torch.allclose(whole, same, atol=1e-12), by
    expected, fused = (
        bridge.run(name, model, x, labels, implementation=by, mask=mask, **small).output
        for by in ("reference", "fused" if method.fast else "reference")
    )
    assert torch.allclose(expected, fused, atol=1e-9)


def test_a_sign_attack_on_a_linear_model_is_known_in_closed_form():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 9, 2)).double().eval()
    model, x = bridge.wrap(module), 0.2 + 0.6 * torch.rand(3, 2, 8, 9, dtype=torch.float64)
    labels, mask = torch.tensor([0, 1, 0]), masks(x)
    w = module[1].weight.detach().view(2, 2, 8, 9)
    against = torch.stack([w[1 - label] - w[label] for label in labels])
    expected = x + 0.05 * against.sign() * mask[:, None]
    for name in ("fgsm", "bim", "pgd", "mi_fgsm"):
        for by in get(name).implementations():
            how = {} if name == "fgsm" else {"steps": 40, "step_size": 0.01}
            found = bridge.run(
                name, model, x, labels, implementation=by, mask=mask, epsilon=0.05, **how
            )
            assert torch.allclose(found.output, expected, rtol=1e-9), (name, by)
    several = bridge.run("fgsm", model, x, labels, mask=mask, epsilon=[0.05, 0.0])
    assert torch.allclose(several.output, torch.stack([expected, x]), rtol=1e-9)


def test_a_users_own_attack_stays_within_the_mask_too():
    def mine(model, x, labels, *, epsilon):
        return (x + epsilon).clamp(0, 1)

    def one_by_one(model, x, labels, *, epsilon):
        return torch.cat([x[i : i + 1] + 0 * model(x[i : i + 1]).sum() for i in range(len(x))])

    def twice(model, x, labels, *, epsilon):  # two images two times are as many as all four
        with torch.enable_grad():
            some = x[[3, 1, 3, 1]] if len(x) == 4 else x
            z = some.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(model(z).sum(), z)
        moved = some + epsilon * gradient.sign()
        return moved if len(x) == 1 else x

    model, x = bridge.wrap(seeded(Plain)), images(4)
    mask, labels = masks(x), [0, 1, 2, 0]
    found = bridge.run("fgsm", model, x, labels, implementation=mine, mask=mask)
    assert torch.equal((found.output != x).any(1) & ~mask, torch.zeros_like(mask))
    assert (found.params["mask"] == mask).all()
    for function in (one_by_one, twice):
        found = bridge.run("fgsm", model, x, labels, implementation=function, mask=mask)
        assert torch.equal((found.output != x).any(1) & ~mask, torch.zeros_like(mask))


def test_a_mask_that_makes_no_sense_is_refused():
    model, x = bridge.wrap(seeded(Plain)), images(3)
    mask = masks(x)
    for expected, name, given in [
        ("no attack", "saliency", mask),
        ("True and False", "fgsm", mask.float()),
        ("True and False", "fgsm", [True]),
        ("expected", "fgsm", mask[:2]),
    ]:
        with pytest.raises((TypeError, ValueError), match=expected):
            bridge.run(name, model, x, [0, 1, 2], mask=given)


def test_the_model_is_left_as_it_was():
    model, x = bridge.wrap(seeded(Plain)), images(3)
    before = [p.clone() for p in model.parameters()]
    bridge.run("pgd", model, x, [0, 1, 2], mask=masks(x), implementation="foolbox")
    assert all(map(torch.equal, before, model.parameters()))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not model.module._forward_hooks
