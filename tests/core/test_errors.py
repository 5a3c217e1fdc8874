"""What somebody's function raises says where it came from, and what helps."""

from __future__ import annotations

import asyncio
import inspect
import sys

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.core.errors import describe
from bridge.fused import run_many
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2]


def line_of(function) -> int:
    return inspect.getsourcelines(function)[1]


def boom(model, x, labels, *, epsilon):
    raise KeyError("boom")


def silent(model, x, labels, *, epsilon):
    assert x is None


def worded(model, x, labels, *, epsilon):
    raise ValueError("I do not like these images")


def through_torch(model, x, labels, *, epsilon):
    return torch.cat([x, torch.zeros(1)])


def leaves(model, x, labels, *, epsilon):
    sys.exit(3)


class Odd(BaseException):
    pass


def odd(model, x, labels, *, epsilon):
    raise Odd("nobody catches this")


@pytest.mark.parametrize(
    "function, words",
    [
        (boom, "KeyError: 'boom' ({})"),
        (silent, "AssertionError: assert "),
        (worded, "ValueError: I do not like these images ({})"),
        (leaves, "RuntimeError: leaves called sys.exit(3) ({})"),
        (odd, "RuntimeError: odd raised Odd: nobody catches this ({})"),
    ],
)
def test_a_failure_says_where_it_came_from(function, words):
    with pytest.raises(Exception) as caught:
        bridge.run("fgsm", seeded(Plain), images(), LABELS, implementation=function)
    said = f"{type(caught.value).__name__}: {caught.value}"
    where = f"test_errors.py, line {line_of(function) + 1}, in {function.__name__}"
    told = describe(caught.value)
    assert where in told
    assert told.startswith(words.format(where)) or said.startswith(words.format(where)), told


def test_a_librarys_own_line_is_named_where_the_user_called_it():
    with pytest.raises(RuntimeError) as caught:
        bridge.run("fgsm", seeded(Plain), images(), LABELS, implementation=through_torch)
    assert f"(test_errors.py, line {line_of(through_torch) + 1}, in thr" in describe(caught.value)


def test_what_we_say_ourselves_is_said_as_it_is():
    with pytest.raises(ValueError) as caught:
        bridge.run("fgsm", seeded(Plain), images() * 255, LABELS)
    assert describe(caught.value) == str(caught.value)
    assert describe(RuntimeError()) == "RuntimeError"
    assert describe(KeyError("k")) == "KeyError: 'k'"


class Raises(nn.Module):
    def __init__(self, what, after: int = 0) -> None:
        super().__init__()
        self.inner, self.what, self.after, self.calls = seeded(Plain), what, after, [0] * 300
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1  # in a list so long that nobody puts it back
        if self.calls[0] > self.after:
            self.what()
        return self.inner(x)


def exits():
    sys.exit("no license")


def misses():
    return {}["weights"]


def too_much():
    torch.empty(2**60)


@pytest.mark.parametrize(
    "what, words",
    [
        (exits, "it called sys.exit('no license')"),
        (misses, "KeyError: 'weights'"),
        (too_much, "pass fewer or smaller images"),
    ],
)
def test_a_models_failure_in_its_first_pass_is_one_error_with_the_place(what, words):
    calls = [
        lambda: bridge.run("saliency", Raises(what), images(), LABELS),
        lambda: run_many(Raises(what), images(), LABELS, {"saliency": {}}),
        lambda: bridge.compare(Raises(what), images(), LABELS, progress=False),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="cannot take images of shape") as caught:
            call()
        assert words in str(caught.value)
        assert f"test_errors.py, line {line_of(what) + 1}, in {what.__name__}" in str(caught.value)


def test_run_many_goes_on_after_what_exits():
    module = Raises(exits, after=3)  # the first pass, and then two methods' own
    many = run_many(module, images(), LABELS, {"pgd": {"steps": 9}, "fgsm": {}}, predict=False)
    (failure,) = many.failures
    assert (failure.method, failure.error) == ("pgd", "RuntimeError")
    assert failure.message.startswith("fused called sys.exit('no license') (test_e")
    assert list(many) == ["fgsm"]


@pytest.mark.parametrize("wish", [KeyboardInterrupt, asyncio.CancelledError, pytest.skip.Exception])
def test_the_wish_to_end_goes_through_and_leaves_nothing(wish):
    def mine(model, x, target):
        model.module.train()
        raise wish

    module = seeded(Plain)
    before = torch.get_rng_state()
    with pytest.raises(wish):
        bridge.run("saliency", module, images(), LABELS, implementation=mine)
    assert not module.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory"),
        ValueError("Unable to allocate 3.2 TiB for an array"),
    ],
)
def test_memory_errors_name_the_remedy(error):
    def mine(model, x, target):
        raise error

    with pytest.raises(type(error)) as caught:
        bridge.run("saliency", seeded(Plain), images(), LABELS, implementation=mine)
    assert "fewer or smaller images" in describe(caught.value)
    assert describe(caught.value).count("fewer or smaller images") == 1
    assert any("fewer" in note for note in caught.value.__notes__)  # a traceback shows it too


def test_a_name_that_is_nearly_a_method_is_recognised():
    with pytest.raises(KeyError, match="did you mean saliency"):
        bridge.run("salience", seeded(Plain), images(), LABELS)


def test_what_a_dataclass_of_ours_refuses_is_not_said_to_come_from_the_users_code():
    from bridge.study.whole.job import Shard

    with pytest.raises(ValueError, match="shard 5/2") as refused:
        Shard.of_text("5/2")
    assert describe(refused.value).startswith("shard 5/2 makes no sense: expected i/n")
