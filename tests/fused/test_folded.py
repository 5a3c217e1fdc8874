"""accelerate="fold": the same function in float64, refused in words where that is not proved."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import bridge
from bridge.fused.accelerate import accelerated
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2]


def normed(build, **options) -> nn.Module:
    """A network whose batch norms do something."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = build(**options)
        for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias, 0, 0.2)
    return module.eval()


@pytest.mark.parametrize(
    ("build", "side"),
    [(Plain, 12), (torchvision.models.resnet18, 33), (torchvision.models.mobilenet_v2, 33)],
)
def test_folding_is_exact_in_float64(build, side):
    model = bridge.wrap(normed(build).double(), mean=0.4, std=0.3)
    x = images(3, (3, side, side)).double()
    fast = accelerated(model, "fold", x)
    norms = [m for m in fast.module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not norms
    for method, params in (
        ("saliency", {}),
        ("layer_gradcam", {}),
        ("integrated_gradients", {"n_steps": 3}),
    ):
        if method == "layer_gradcam" and build is not Plain:
            continue  # their layer is a block, which the trace has no longer: see below
        expected = bridge.run(method, model, x, LABELS, **params).output
        found = bridge.run(method, fast, x, LABELS, implementation="fused", **params).output
        assert float((found - expected).abs().max()) <= 1e-9 * float(expected.abs().max())


def test_the_users_model_is_left_as_it_was():
    module = normed(Plain).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    parts, flags = list(module.modules()), [m.training for m in module.modules()]
    fast = accelerated(bridge.wrap(module), "fold", images())
    with pytest.warns(bridge.BridgeWarning, match="training mode"):
        bridge.run("saliency", fast, images(), LABELS)
    assert list(module.modules()) == parts
    assert [m.training for m in module.modules()] == flags
    assert module[2].inplace
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_layer_that_was_folded_away_is_not_replaced_by_another_one():
    model = bridge.wrap(normed(Plain), layer="0")
    fast = accelerated(model, "fold", images())
    with pytest.raises(ValueError, match="did not run"):
        bridge.run("layer_gradcam", fast, images(), LABELS)


class Branching(nn.Module):
    """Its computation depends on its data."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(Plain)

    def forward(self, x):
        return self.inner(x) if x.sum() > 0 else -self.inner(x)


class Counted(nn.Module):
    """What tracing takes for a constant is none: a scale that the number of its calls decides."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = seeded(Plain), []

    def forward(self, x):
        self.calls = [*self.calls, 1]
        return self.inner(x) * len(self.calls)


def hooked() -> nn.Module:
    module = normed(Plain)
    module[2].register_forward_hook(lambda m, i, o: 2 * o)
    return module


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (Branching, "torch.fx cannot trace it"),
        (hooked, "a submodule has hooks"),
        (Counted, "no function of one image"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 4)), "no batch norm follows"),
    ],
)
def test_what_cannot_be_proved_is_refused_in_words(build, why):
    model = bridge.wrap(build().eval())
    with pytest.raises(ValueError, match=why):
        accelerated(model, "fold", images())
