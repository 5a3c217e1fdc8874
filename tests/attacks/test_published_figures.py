"""Published figures that we must reproduce, and Foolbox called directly."""

from __future__ import annotations

import copy

import pytest
import torch

import bridge
from bridge.core.gradients import predict
from tests.networks import Plain, images, seeded


@pytest.mark.slow
def test_foolboxs_pgd_of_ten_steps_on_resnet20_is_ours_to_the_bit_and_as_published(resnet20):
    import foolbox

    trained, x, labels = resnet20
    # Foolbox, called directly, would compute and leave the gradients of all weights.
    model = copy.deepcopy(trained).requires_grad_(False)
    assert float((predict(model, x) == labels).double().mean()) == 0.94
    for epsilon, robust in ((1 / 255, 0.76), (4 / 255, 0.17), (8 / 255, 0.03)):
        ours = bridge.run("pgd", model, x, labels, epsilon=epsilon, steps=10, seed=7).output
        attack = foolbox.attacks.LinfProjectedGradientDescentAttack(steps=10)
        with bridge.state.seeded(7):
            raw, _, _ = attack(
                foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"),
                x,
                labels,
                epsilons=epsilon,
            )
        assert torch.equal(ours, raw)
        # Another seed moves about three of the hundred images.
        assert float((predict(model, ours) == labels).double().mean()) == pytest.approx(
            robust, abs=0.04
        )


@pytest.mark.parametrize("method", ["fgsm", "bim", "pgd", "fgm_l2", "pgd_l2", "deepfool_l2"])
def test_the_defaults_are_foolboxs_to_the_bit(method):
    from foolbox import PyTorchModel
    from foolbox import attacks as fa

    theirs = {
        "fgsm": fa.LinfFastGradientAttack(),
        "bim": fa.LinfBasicIterativeAttack(),
        "fgm_l2": fa.L2FastGradientAttack(),
        "pgd": fa.LinfProjectedGradientDescentAttack(),
        "pgd_l2": fa.L2ProjectedGradientDescentAttack(),
        "deepfool_l2": fa.L2DeepFoolAttack(),
    }[method]
    model, x, labels = bridge.wrap(seeded(Plain)), images(), torch.tensor([0, 3, 3])
    epsilon = bridge.registry.get(method).defaults["epsilon"]
    ours = bridge.run(method, model, x, labels, seed=3).output
    with bridge.state.seeded(3):
        raw, _, _ = theirs(
            PyTorchModel(model, bounds=(0, 1), device="cpu"), x, labels, epsilons=epsilon
        )
    assert torch.equal(ours, raw)
