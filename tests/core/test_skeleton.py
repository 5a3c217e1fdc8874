"""What is kept of a model's insides is used only as long as it holds."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import bridge
from bridge.core.skeleton import Kept, Skeleton, submodules
from bridge.core.state import frozen
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2]


def used() -> tuple[nn.Sequential, bridge.core.model.ModelAdapter]:
    """A model of which everything is known already."""
    module = seeded(Plain)
    model = bridge.wrap(module)
    bridge.run("saliency", model, images(), LABELS)
    return module, model


def replace_layer(module):
    module[4] = nn.Conv2d(6, 8, 3, padding=1).eval()


def replace_weight(module):
    module[4].weight = nn.Parameter(torch.randn_like(module[4].weight))


def move_weight(module):
    module[4].weight.data = torch.randn_like(module[4].weight)


def replace_buffer(module):
    module[1].running_mean = torch.full((6,), 0.3)


def add_hook(module):
    module[4].register_forward_hook(lambda m, i, o: 2 * o)


def replace_hooks(module):
    module[4]._forward_hooks = type(module[4]._forward_hooks)()
    add_hook(module)


def own_forward(module):
    module[2].forward = lambda x: x.abs()


def drop_bias(module):
    module[4].bias = None


CHANGES = [
    replace_layer,
    replace_weight,
    move_weight,
    replace_buffer,
    add_hook,
    replace_hooks,
    own_forward,
    drop_bias,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_two_runs_is_seen_and_stays(change):
    module, model = used()
    before = bridge.run("saliency", model, images(), LABELS).output
    with torch.random.fork_rng():
        torch.manual_seed(3)
        change(module)
    state = {name: (id(value), value.clone()) for name, value in module.state_dict().items()}
    hooks = [dict(m._forward_hooks) for m in module.modules()]
    parts, forwards = list(module.modules()), ["forward" in vars(m) for m in module.modules()]
    for _ in range(2):
        found = bridge.run("saliency", model, images(), LABELS).output
        assert torch.equal(
            found,
            bridge.run("saliency", bridge.wrap(copy.deepcopy(module)), images(), LABELS).output,
        )
        assert not torch.equal(found, before)
        assert list(module.modules()) == parts
        assert [dict(m._forward_hooks) for m in module.modules()] == hooks
        assert ["forward" in vars(m) for m in module.modules()] == forwards
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name][1])


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_inside_of_a_run_is_undone(change):
    module, model = used()
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    kept = Skeleton(submodules(module))
    with frozen(model):
        if change is not move_weight:  # weights in place are for `watched`
            change(module)
    assert kept.same_inside()
    assert {n: v.tolist() for n, v in module.state_dict().items()} == {
        n: v.tolist() for n, v in expected.items()
    }


def test_the_mode_is_put_back_whatever_it_was_before():
    module, model = used()
    for training in (True, False, True):
        module.train(training)
        module[2].train(not training)
        with frozen(model):
            assert not any(m.training for m in module.modules())
        assert module[1].training is training
        assert module[2].training is not training


def test_nothing_is_kept_of_a_model_that_nobody_holds():
    module, model = used()
    gone = weakref.ref(module), weakref.ref(model)
    gc.disable()
    try:
        del module, model
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


def test_copies_and_pickles_keep_nothing():
    _, model = used()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(again.kept, Kept)
        assert again.kept.weights(again.module) is None
        assert torch.equal(
            bridge.run("saliency", again, images(), LABELS).output,
            bridge.run("saliency", model, images(), LABELS).output,
        )


def test_the_second_run_does_not_walk_the_model_again(monkeypatch):
    _, model = used()
    walks = []
    build = Skeleton.__init__
    monkeypatch.setattr(
        Skeleton,
        "__init__",
        lambda self, modules: walks.append(len(modules)) or build(self, modules),
    )
    bridge.run("saliency", model, images(), LABELS)
    assert walks == []
    bridge.run("saliency", model, images(), LABELS, implementation="captum")
    assert walks == [1]  # the adapter's own module
