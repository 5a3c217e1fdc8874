"""Where a library differs from the reference, and who is right."""

from __future__ import annotations

import eagerpy
import foolbox
import pytest
import torch
from zennit.composites import Composite
from zennit.rules import ReLUGuidedBackprop
from zennit.types import Activation

import bridge
from tests.networks import Quadratic, Skip, images, seeded

TARGET = torch.tensor([0, 1, 2])


@pytest.fixture
def skip():
    return bridge.wrap(seeded(Skip).double())


def guided_by_hand(network: Skip, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """d logit_t / d x of h + f(relu(h)), written out.

    The skip path passes g whole, the ReLU clips what comes through it.
    """
    h = network.first(x)
    g = network.head.weight[target][:, :, None, None].expand_as(h) / (h.shape[2] * h.shape[3])
    through = torch.nn.grad.conv2d_input(h.shape, network.second.weight, g.contiguous(), padding=1)
    at_h = g + through * (h > 0) * (through > 0)
    return torch.nn.grad.conv2d_input(x.shape, network.first.weight, at_h, padding=1)


def test_the_reference_of_guided_backprop_is_right_on_skips_by_hand_and_by_zennit(skip):
    x = images().double()
    ours = bridge.run("guided_backprop", skip, x, TARGET).output
    by_hand = guided_by_hand(skip.module, x, TARGET).detach()
    assert torch.allclose(ours, by_hand, rtol=0, atol=1e-14)

    def activation(ctx, name, module):
        return ReLUGuidedBackprop() if isinstance(module, Activation) else None

    x_zennit = x.clone().requires_grad_()
    with Composite(module_map=activation).context(skip.module) as modified:
        (theirs,) = torch.autograd.grad(modified(x_zennit)[torch.arange(3), TARGET].sum(), x_zennit)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-14)


def test_captums_guided_backprop_is_wrong_on_skips_and_the_table_says_why(skip):
    result = bridge.compare(
        bridge.wrap(seeded(Skip)),
        images(),
        TARGET,
        methods=["guided_backprop"],
        repeats=1,
        progress=False,
    )
    fused, row = result.agreement.iloc[0], result.agreement.iloc[1]
    assert (fused.implementation, fused.verdict) == ("fused", "equal")
    assert (row.implementation, row.verdict) == ("captum", "differs")
    assert row.gap > 0.1  # 48 to 81 % of the maximum were measured on other networks
    assert "skip path" in row.cause
    assert "skip path" in str(result)


def test_foolboxs_uniform_noise_leaves_the_ball_where_the_reference_does_not():
    model = bridge.wrap(seeded(Skip))
    x = images(8) * 0 + 0.5
    epsilon = 8 / 255
    torch.manual_seed(0)
    attack = foolbox.attacks.LinfAdditiveUniformNoiseAttack()
    noise = eagerpy.astensor(x).uniform(x.shape, -1, 1).raw
    attack.sample_noise = lambda inputs: eagerpy.astensor(noise)
    classifier = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    raw, _, _ = attack(classifier, x, torch.zeros(8, dtype=torch.int64), epsilons=epsilon)
    sizes = (raw - x).flatten(1).abs().amax(1)
    negative = -noise.flatten(1).amin(1) > noise.flatten(1).amax(1)
    assert 0 < int(negative.sum()) < 8  # both kinds of image are there
    assert bool((sizes[negative] > epsilon * 1.0001).all())
    ours = bridge.run("uniform_noise_linf", model, x, [0] * 8, epsilon=epsilon, noise=noise).output
    # 1e-7: the pixels are float32 near 0.5, where numbers are 6e-8 apart.
    assert torch.allclose(
        (ours - x).flatten(1).abs().amax(1), torch.full((8,), epsilon), rtol=0, atol=1e-7
    )
    assert torch.allclose(ours[~negative], raw[~negative], rtol=0, atol=1e-7)


def test_captums_trapezoid_weights_do_not_sum_to_one_and_ours_do():
    from captum.attr._utils.approximation_methods import approximation_parameters

    from bridge.attributions._path import quadrature

    for n in (2, 10, 50):
        assert sum(approximation_parameters("riemann_trapezoid")[0](n)) == pytest.approx(
            (n - 1) / n
        )
        assert sum(quadrature("riemann_trapezoid", n)[1]) == pytest.approx(1)


def test_foolboxs_mi_fgsm_counts_votes_where_the_papers_weighs_gradients():
    # Gradients along (0.2, 0.5, 0.3), and after one step along (-0.6, 0.3, -0.1): over their L1
    # norms they sum to (-0.4, 0.8, 0.2), by their signs to (0, 2, 0), which moves one pixel alone.
    model = bridge.wrap(Quadratic([2.0, 5.0, 3.0], [-26.0, -47.0, -31.0]).eval())
    x, label = torch.full((1, 3, 1, 1), 0.5).double(), torch.tensor([0])
    options = {"epsilon": 0.5, "step_size": 0.1, "steps": 2}
    for implementation, expected in (
        ("reference", [0.5, 0.7, 0.7]),
        ("foolbox", [0.6, 0.7, 0.6]),
    ):
        found = bridge.run("mi_fgsm", model, x, label, implementation=implementation, **options)
        close = torch.tensor(expected).double()
        assert torch.allclose(found.output.flatten(), close, rtol=0, atol=1e-7), implementation
    # With a single step, or without momentum, there is nothing to sum.
    for same in ({"steps": 1}, {"momentum": 0.0}):
        ours, theirs = (
            bridge.run("mi_fgsm", model, x, label, implementation=by, **{**options, **same}).output
            for by in ("reference", "foolbox")
        )
        assert torch.equal(ours, theirs)
