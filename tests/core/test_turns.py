"""Threads get the numbers of one thread, on one model as on several, and leave nothing behind."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.state import frozen, seeded
from bridge.core.turns import turn
from bridge.fused import run_many
from tests.networks import Plain, images
from tests.networks import seeded as network_of

LABELS = [0, 1]
# What two threads at once got wrong: modes, hooks in modules, hooks on gradients, random numbers.
SINGLE: list[tuple[str, str, dict]] = [
    ("saliency", "reference", {}),
    ("saliency", "captum", {}),
    ("pgd", "reference", {"steps": 2}),
    ("pgd", "foolbox", {"steps": 2}),
    ("pgd_l2", "fused", {"steps": 2, "restarts": 2}),
    ("smooth_grad", "reference", {"n_samples": 2}),
    ("smooth_grad", "fused", {"n_samples": 2}),
    ("guided_backprop", "reference", {}),
    ("guided_backprop", "captum", {}),
    ("layer_gradcam", "reference", {}),
    ("layer_gradcam", "captum", {}),
    ("uniform_noise_linf", "reference", {}),
]
TOGETHER = {"saliency": {}, "guided_backprop": {}, "layer_gradcam": {}, "pgd": {"steps": 2}}

Job = Callable[[ModelAdapter, Tensor], list[Tensor]]


def jobs() -> list[Job]:
    def one(method: str, implementation: str, params: dict) -> Job:
        def job(model: ModelAdapter, x: Tensor) -> list[Tensor]:
            found = bridge.run(method, model, x, LABELS, implementation=implementation, **params)
            return [found.output, torch.tensor([found.forwards, found.backwards])]

        return job

    def many(model: ModelAdapter, x: Tensor) -> list[Tensor]:
        found = run_many(model, x, LABELS, TOGETHER)
        assert not found.failures
        return [run.output for run in found.values()]

    return [*(one(*each) for each in SINGLE), many]


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads are switched a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def hooks(module: nn.Module) -> int:
    return sum(
        len(value)
        for m in module.modules()
        for name, value in m.__dict__.items()
        if "hooks" in name and isinstance(value, dict)
    )


def random_state() -> tuple:
    numbers = np.random.get_state()
    return torch.get_rng_state().tolist(), numbers[1].tolist(), numbers[2], random.getstate()


@pytest.mark.parametrize("models", [1, 3])
def test_three_threads_get_what_one_gets(restless, models):
    training = [False, True, False][:models]
    nets = [network_of(Plain, seed=k).train(training[k]) for k in range(models)]
    wrapped = [bridge.wrap(net) for net in nets]
    # Two shapes of images: what is kept of one must not be taken for the other's.
    batches = [images(2, (3, 8, 8)), images(2, (3, 10, 10), seed=1)]
    cases = [(job, k, x) for job in jobs() for k in range(models) for x in batches]

    def do(case: tuple[Job, int, Tensor]) -> list[Tensor]:
        job, k, x = case
        return job(wrapped[k], x)

    with pytest.warns(bridge.BridgeWarning) if any(training) else nullcontext():
        expected = [do(case) for case in cases]
        order = [index for turn in range(-(-200 // len(cases))) for index in range(len(cases))][
            :100
        ]
        random.Random(0).shuffle(order)
        before, hooked = random_state(), [hooks(net) for net in nets]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(do, [cases[index] for index in order]))
    for index, outputs in zip(order, found, strict=True):
        for output, right in zip(outputs, expected[index], strict=True):
            assert torch.equal(output, right), cases[index]
    assert random_state() == before
    assert [hooks(net) for net in nets] == hooked
    assert [net.training for net in nets] == training


def test_who_seeds_waits_for_who_froze_and_the_other_way_round(restless):
    """run seeds first and freezes then, run_many freezes first: two locks would wait for ever."""
    module, done = network_of(Plain), []

    def seeds() -> None:
        for _ in range(50):
            with seeded(0), frozen(module):
                done.append(float(torch.rand(1)))

    def freezes() -> None:
        for _ in range(50):
            with frozen(module), seeded(0):
                done.append(float(torch.rand(1)))

    threads = [threading.Thread(target=target, daemon=True) for target in (seeds, freezes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 100
    assert len(set(done)) == 1


def test_who_waits_long_says_what_for(monkeypatch):
    monkeypatch.setattr("bridge.core.turns.PATIENCE", 0.05)
    said, waiting = [], threading.Event()

    def wait() -> None:
        waiting.set()
        with pytest.warns(bridge.BridgeWarning) as caught, turn():
            said.extend(str(each.message) for each in caught)

    thread = threading.Thread(target=wait)
    with frozen(network_of(Plain)):
        thread.start()
        waiting.wait(30)
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(30)
    assert "MainThread" in said[0]
    assert "frozen" in said[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_threads():
    holding, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with turn():
            holding.set()
            let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(30)
    child = os.fork()
    if child == 0:  # only what needs no other thread happens here
        with turn():
            os._exit(7)
    let_go.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
