"""What somebody's function writes into a model is put back, and it is said who did it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.core.state import _State, frozen
from bridge.core.watch import Watch, watched
from tests.networks import Plain, images, seeded
from tests.test_state import snapshot

LABELS = [0, 1, 2]


def in_place(inner):
    with torch.no_grad():
        inner[0].weight.mul_(2)


def by_data(inner):
    inner[0].weight.data += 1


def other_data(inner):
    inner[0].weight.data = inner[0].weight.data * 3


def other_shape(inner):
    inner[0].weight.data = torch.zeros(2, 2)


def by_numpy(inner):
    inner[0].weight.detach().numpy()[:] = 7


def an_optimiser(inner):
    inner[0].weight.grad = torch.ones_like(inner[0].weight)
    torch.optim.SGD([inner[0].weight], 0.1).step()


def nan(inner):
    inner[0].weight.data.fill_(torch.nan)


@pytest.mark.parametrize(
    "write", [in_place, by_data, other_data, other_shape, by_numpy, an_optimiser, nan]
)
@pytest.mark.parametrize("breaks", [False, True])
def test_weights_are_put_back_and_the_warning_names_them(write, breaks):
    def mine(model, x, target):
        write(model.module)
        if breaks:
            raise ZeroDivisionError
        return x

    module = seeded(Plain)
    model, x = bridge.wrap(module), images()
    address = module[0].weight.data_ptr()
    before = snapshot(module, x, torch.tensor(LABELS))
    if breaks:
        with pytest.raises(ZeroDivisionError):
            bridge.run("saliency", model, x, LABELS, implementation=mine)
    else:
        with pytest.warns(
            bridge.BridgeWarning, match=r"mine of saliency .* model's 0\.weight: put"
        ):
            bridge.run("saliency", model, x, LABELS, implementation=mine)
    assert snapshot(module, x, torch.tensor(LABELS)) == before
    assert module[0].weight.data_ptr() == address


def test_buffers_too_and_who_wrote_nothing_is_not_named():
    def mine(model, x, target):
        model.module[1].running_mean += 1
        return x

    model, x = bridge.wrap(seeded(Plain)), images()
    with pytest.warns(bridge.BridgeWarning, match=r"mine .* 1\.running_mean: put back"):
        bridge.run("saliency", model, x, LABELS, implementation=mine)
    for implementation in bridge.registry.get("saliency").implementations():
        found = bridge.run("saliency", model, x, LABELS, implementation=implementation)
        assert not found.noticed


def test_what_follows_is_computed_with_the_weights_that_were_there():
    def mine(model, x, labels, *, epsilon):
        in_place(model.module)
        return x

    model, x = bridge.wrap(seeded(Plain)), images()
    expected = bridge.run("fgsm", model, x, LABELS, implementation="foolbox", epsilon=0.1).output
    with torch.autocast("cpu", torch.bfloat16):  # which keeps weights that were cast
        half = bridge.run("fgsm", model, x, LABELS, epsilon=0.1).output
    with pytest.warns(bridge.BridgeWarning, match="changed the") as caught:
        bridge.run("fgsm", model, x, LABELS, implementation=mine, epsilon=[0.1, 0.2, 0.3])
    assert len(caught) == 1  # not once an epsilon
    found = bridge.run("fgsm", model, x, LABELS, implementation="foolbox", epsilon=0.1).output
    assert torch.equal(found, expected)

    def loud(model, x, labels, *, epsilon):
        in_place(model.module)
        model(x)
        return x

    with torch.autocast("cpu", torch.bfloat16):
        with pytest.warns(bridge.BridgeWarning, match="changed the"):
            bridge.run("fgsm", model, x, LABELS, implementation=loud)
        assert torch.equal(bridge.run("fgsm", model, x, LABELS, epsilon=0.1).output, half)


def test_nan_in_the_weights_is_no_trace():
    module = nn.Linear(2, 2)
    module.bias.data[0] = torch.nan
    with watched(module) as written:
        pass
    assert not written


def test_what_cannot_be_copied_is_not_watched():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("sparse", torch.eye(2).to_sparse())
            self.register_buffer("meta", torch.empty(2, device="meta"))
            self.register_buffer("whole", torch.zeros(2, dtype=torch.int32))
            self.register_buffer("flag", torch.tensor(True))

    module = Odd()
    watch = Watch(module)
    module.whole += 1
    module.flag.logical_not_()
    assert watch.put_back() == ["whole", "flag"]
    assert module.flag


class Counts(nn.Module):
    """Keeps count of its calls in every way there is."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(Plain)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.number, self.name, self.on = 0, "start", False
        self.list, self.dict, self.set, self.kinds = [1], {"a": 1}, {1}, Counter(a=1)
        self.cache = None
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.number += 1
        self.name, self.on, self.last = f"call {self.number}", True, self.number
        self.list.append(x)
        self.list[0] = x
        self.dict["b"] = self.dict.pop("a")
        self.set.add(self.number)
        self.kinds["a"] += 1
        self.cache = x.sum() if self.cache is None else self.cache
        return self.inner(x)


def plain_attributes(module):
    names = ("number", "name", "on", "list", "dict", "set", "kinds")
    return {name: repr(getattr(module, name)) for name in names}, hasattr(module, "last")


def test_a_model_that_counts_its_calls_counts_none_of_ours():
    module = Counts()
    model, x = bridge.wrap(module, name="abacus"), images()
    attributes = plain_attributes(module)
    held = module.list, module.dict, module.set
    with pytest.warns(bridge.BridgeWarning, match="abacus writes into its own calls"):
        bridge.run("saliency", model, x, LABELS)
    for implementation in ("captum", "fused", "reference"):  # nobody else is blamed
        run = bridge.run("saliency", model, x, LABELS, implementation=implementation)
        assert not run.noticed
    bridge.fused.run_many(model, x, LABELS, {"fgsm": {}})
    assert plain_attributes(module) == attributes
    assert all(a is b for a, b in zip(held, (module.list, module.dict, module.set), strict=True))
    assert int(module.calls) == 0
    assert module.cache is not None  # a cache costs only time


def test_a_model_that_writes_its_own_weights_is_put_back_and_named():
    class Drifts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = seeded(Plain)
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            self.inner[9].bias.data += 0.5
            return self.inner(x)

    def mine(model, x, target):
        model(x)
        return x

    module = Drifts()
    model, x = bridge.wrap(module), images()
    before = module.inner[9].bias.detach().clone()
    with pytest.warns(bridge.BridgeWarning) as caught:
        bridge.run("saliency", model, x, LABELS)
    assert "writes into its own inner.9.bias" in " ".join(str(each.message) for each in caught)
    assert torch.equal(module.inner[9].bias, before)
    for implementation in ("captum", mine):
        run = bridge.run("saliency", model, x, LABELS, implementation=implementation)
        assert not run.noticed
        assert torch.equal(module.inner[9].bias, before)


def test_lazily_made_parts_stay_consistent():
    """What was made in the first pass is unmade with the note that it was made."""

    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.scale, self.made = seeded(Plain), None, False
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            if not self.made:
                self.scale, self.made = nn.Parameter(torch.ones(())), True
            return self.inner(x) * self.scale

    module = Lazy()
    for _ in range(2):
        bridge.run("saliency", module, images(), LABELS)
        assert (module.scale, module.made) == (None, False)
    module(images())
    assert module.made


def test_a_second_interruption_while_putting_back_loses_nothing(monkeypatch):
    module, calls = seeded(Plain).train(), []
    put_back = _State._put_back_modules

    def interrupted(self):
        calls.append(self)
        if len(calls) == 1:
            raise KeyboardInterrupt
        put_back(self)

    monkeypatch.setattr(_State, "_put_back_modules", interrupted)
    with pytest.raises(KeyboardInterrupt), frozen(module):
        pass
    assert module.training
    assert all(part.training for part in module)
