"""No trace: after every method everything is as it was, also after an exception in the model."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import bridge
from bridge.core.state import frozen, seeded
from tests.networks import Attentive, Functional, Plain, Reused, Skip, attentive, images
from tests.networks import seeded as network_of

QUICK = {name: bridge.registry.get(name).small("quickest", 8) for name in bridge.methods()}
EVERYTHING = [(n, i) for n in bridge.methods() for i in bridge.registry.get(n).implementations()]


def snapshot(module: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> list:
    """Everything that a run could leave behind, comparable with ==."""
    state: list = [x.clone().numpy().tobytes(), labels.tolist(), x.requires_grad, x.grad]
    for name, m in module.named_modules():
        hooks = [
            list(value.items())
            for key, value in sorted(m.__dict__.items())
            if "hooks" in key and value
        ]
        state.append(
            (name, id(m), m.training, getattr(m, "inplace", None), hooks, "forward" in m.__dict__)
        )
    for name, p in module.named_parameters():
        gradient = None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes())
        state.append((name, id(p), p.requires_grad, gradient, p.detach().numpy().tobytes()))
    for name, b in module.named_buffers():
        state.append((name, id(b), b.numpy().tobytes()))
    state += [
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        np.random.get_state()[1].tobytes(),
    ]
    return [*state, torch.is_grad_enabled(), torch.get_default_dtype()]


def prepared(build, training: bool, frozen_weights: bool, gradients: bool, **options):
    """A network as a user may have left it: in some mode, with flags, gradients and a hook."""
    module = network_of(build, **options)
    module.train(training)
    for index, p in enumerate(module.parameters()):
        p.requires_grad_(not (frozen_weights and index % 2))
        if gradients and index % 3:
            p.grad = torch.full_like(p, 0.5)
    next(module.children()).register_forward_hook(lambda m, i, o: None)
    return module


def suited(method: str, build):
    """The network, or one with attention for a method that looks at it."""
    looks = attentive(bridge.registry.get(method))
    return partial(Attentive, side=8) if looks else build


class Breaks(nn.Module):
    """Raises at its k-th forward pass."""

    def __init__(self, inner: nn.Module, at: int) -> None:
        super().__init__()
        self.inner, self.left = inner, at

    def forward(self, x):
        if self.left == 0:
            raise RuntimeError("the model broke")
        self.left -= 1
        return self.inner(x)


@given(
    what=st.sampled_from(EVERYTHING),
    build=st.sampled_from([Plain, Skip, Reused]),
    training=st.booleans(),
    frozen_weights=st.booleans(),
    gradients=st.booleans(),
    breaks=st.sampled_from([None, None, 1, 2, 3]),
)
def test_nothing_is_left_behind(what, build, training, frozen_weights, gradients, breaks):
    method, implementation = what
    module = prepared(suited(method, build), training, frozen_weights, gradients)
    if breaks is not None:
        module = Breaks(module, breaks).train(training)
    x, labels = images(2, (3, 8, 8)), torch.tensor([0, 1])
    before = snapshot(module, x, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bridge.run(
                method,
                bridge.wrap(module),
                x,
                labels,
                implementation=implementation,
                **QUICK[method],
            )
        except RuntimeError as error:
            if breaks is None or "broke" not in str(error):
                raise
    assert snapshot(module, x, labels) == before


@pytest.mark.parametrize("method, implementation", EVERYTHING)
def test_nothing_is_left_behind_by_any_method_on_a_network_in_training_mode(method, implementation):
    module = prepared(suited(method, Plain), True, True, True)
    x, labels = images(2, (3, 8, 8)), torch.tensor([0, 1])
    before = snapshot(module, x, labels)
    with pytest.warns(bridge.BridgeWarning, match="training mode"):
        bridge.run(
            method,
            bridge.wrap(module),
            x,
            labels,
            implementation=implementation,
            **QUICK[method],
        )
    assert snapshot(module, x, labels) == before


def test_compare_leaves_nothing_behind():
    module = prepared(Plain, False, False, True)
    x, labels = images(2, (3, 8, 8)), torch.tensor([0, 1])
    before = snapshot(module, x, labels)
    bridge.compare(bridge.wrap(module), x, labels, params=QUICK, repeats=1, progress=False)
    assert snapshot(module, x, labels) == before


def test_training_mode_and_evaluation_mode_give_the_same_numbers():
    module, x, labels = network_of(Plain), images(), torch.tensor([0, 1, 2])
    evaluated = bridge.run("saliency", bridge.wrap(module), x, labels).output
    module.train()
    with pytest.warns(bridge.BridgeWarning, match="training mode"):
        trained = bridge.run("saliency", bridge.wrap(module), x, labels).output
    assert torch.equal(evaluated, trained)


def test_an_in_place_operation_on_the_images_themselves_does_not_reach_them():
    x = images() - 0.1
    x[:, 0] = -0.5
    before = x.clone()
    model = bridge.wrap(network_of(Functional), bounds=(-1, 1))
    bridge.run("saliency", model, x, [0, 1, 2])
    model(x)
    assert torch.equal(x, before)


def test_frozen_gives_everything_back_after_an_implementation_that_misbehaves():
    module = network_of(Plain)
    x, labels = images(2, (3, 8, 8)), torch.tensor([0, 1])

    def vandal(model, x, target):
        inner = model.module
        inner.train()
        inner[1].running_mean.add_(3)
        inner[0].weight.requires_grad_(False)
        inner[4].register_forward_hook(lambda m, i, o: o * 0)
        inner[2] = nn.Identity()
        inner[9].forward = lambda z: z
        model(x).sum().backward()
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        x.zero_()
        return x

    before = snapshot(module, x, labels)
    with pytest.warns(bridge.BridgeWarning, match=r"vandal .* changed the model's 1\.running"):
        bridge.run("saliency", bridge.wrap(module), x, labels, implementation=vandal)
    assert snapshot(module, x, labels) == before
    with pytest.raises(ZeroDivisionError), frozen(module):  # noqa: PT012 - all of it matters
        module[1].running_mean.add_(1)
        raise ZeroDivisionError
    assert snapshot(module, x, labels) == before


def test_works_inside_no_grad_and_inference_mode(fashion):
    model, x, labels = fashion
    outside = bridge.run("saliency", model, x, labels).output
    with torch.no_grad():
        assert torch.equal(bridge.run("saliency", model, x, labels).output, outside)
    with torch.inference_mode():
        assert torch.equal(bridge.run("saliency", model, x, labels).output, outside)
        assert (
            bridge.run("fgsm", model, x.clone(), labels, implementation="foolbox").output.shape
            == x.shape
        )


def test_a_seed_means_the_same_numbers_and_another_seed_others(fashion):
    model, x, labels = fashion
    for method in (name for name in bridge.methods() if bridge.registry.get(name).random):
        for implementation in bridge.registry.get(method).implementations():
            options = {"implementation": implementation, **QUICK[method]}
            first, again, other = (
                bridge.run(method, model, x, labels, seed=s, **options).output for s in (1, 1, 2)
            )
            assert torch.equal(first, again)
            assert not torch.equal(first, other)


def test_seeded_restores_all_three_generators():
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())
    with seeded(3):
        first = (torch.rand(1), random.random(), np.random.rand())
    with seeded(3):
        assert first == (torch.rand(1), random.random(), np.random.rand())
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1])
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert (before[2] == after[2]).all()


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_bridge_imports_none_of_the_heavy_libraries():
    code = """
import bridge, sys
print(sorted({m.partition('.')[0] for m in sys.modules}))
import torch
module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
bridge.run("saliency", bridge.wrap(module), torch.rand(2, 3, 2, 2), [0, 1])
print(sorted({m.partition('.')[0] for m in sys.modules}))
"""
    imported, ran = (set(eval(line)) for line in run_python(code).splitlines())
    assert not {"torch", "captum", "foolbox", "matplotlib", "pandas", "torchvision"} & imported
    # Neither does running a reference.
    assert not {"captum", "foolbox", "matplotlib", "torchvision"} & ran


def test_every_reference_runs_without_captum_and_foolbox():
    out = run_python(
        """
import sys
sys.modules["captum"] = sys.modules["foolbox"] = sys.modules["eagerpy"] = None
import torch, bridge
from torch import nn
from bridge.conformance.transformers import Averaged
from bridge.core.preflight import without_attention
net = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
)
model, x, y = bridge.wrap(net.eval()), torch.rand(2, 1, 8, 8), [0, 2]
for name in bridge.methods():
    params = bridge.registry.get(name).small("quickest", 8)
    if without_attention(bridge.registry.get(name), model, x):
        images, attentive = torch.rand(2, 1, 8, 10), bridge.wrap(Averaged(1).eval())
        assert bridge.run(name, attentive, images, y, **params).output.isfinite().all(), name
        continue
    assert bridge.run(name, model, x, y, **params).output.isfinite().all(), name
    if bridge.registry.get(name).fast:
        fused = bridge.run(name, model, x, y, implementation="fused", **params)
        assert fused.output.isfinite().all(), name
c = bridge.compare(model, x, y, repeats=1, progress=False, methods=["saliency", "fgsm"])
assert set(c.agreement.query("implementation != 'fused'")["verdict"]) == {"failed"}, c.agreement
assert len(c.runtime) == 6, c.runtime
print("all", len(bridge.methods()))
"""
    )
    assert out.startswith("all")
