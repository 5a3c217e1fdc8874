"""Fused methods under autocast and in 16 bits: the reference's numbers, or whole, and why."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.fused import minimal_epsilon, run_many
from tests.networks import Plain, Skip, images, seeded

LABELS = [0, 1, 2]
FAST = [name for name in bridge.methods() if bridge.registry.get(name).fast]


def quick(name: str) -> dict:
    return bridge.registry.get(name).small("quickest", 12)


class Mixed(nn.Module):
    """float32 features, a bfloat16 head."""

    def __init__(self) -> None:
        super().__init__()
        parts = list(seeded(Plain))
        self.features, self.head = nn.Sequential(*parts[:6]), nn.Sequential(*parts[6:]).bfloat16()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).bfloat16()).float()


class Inside(nn.Module):
    """Autocast in the forward pass, which tracing leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(Plain)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(x).float()


def under(dtype: torch.dtype | None) -> AbstractContextManager:
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype)


CASES = {
    "autocast to bfloat16": (lambda: seeded(Plain), torch.bfloat16),
    "autocast to float16": (lambda: seeded(Plain), torch.float16),
    "autocast of skips": (lambda: seeded(Skip), torch.bfloat16),
    "mixed": (Mixed, None),
    "autocast inside": (Inside, None),
}


@pytest.mark.parametrize("case", CASES)
def test_every_fused_method_gives_its_references_numbers(case):
    build, dtype = CASES[case]
    model, x = bridge.wrap(build(), mean=0.4, std=0.3), images()
    with under(dtype):
        many = run_many(model, x, LABELS, {name: quick(name) for name in FAST})
        assert not many.failures
        for name in FAST:
            expected = bridge.run(name, model, x, LABELS, **quick(name)).output
            scale = float(expected.abs().max())
            for found in (
                many[name].output,
                bridge.run(name, model, x, LABELS, implementation="fused", **quick(name)).output,
            ):
                # In 16 bits other batch sizes may round a logit differently.
                assert float((found - expected).abs().max()) <= 0.02 * scale, name


@pytest.mark.parametrize("case", CASES)
def test_occlusion_says_why_it_ran_whole(case):
    build, dtype = CASES[case]
    with under(dtype):
        run = bridge.run("occlusion", build(), images(), LABELS, implementation="fused")
    assert run.details["engine"] == "whole images"
    assert "16 bits" in run.details["reason"]
    assert run.output.dtype == torch.float32


def test_what_was_seen_under_autocast_is_not_believed_without():
    model, x = bridge.wrap(seeded(Plain)), images()
    engines = []
    for dtype in (None, torch.bfloat16, None, torch.float16):
        with under(dtype):
            run = bridge.run("occlusion", model, x, LABELS, implementation="fused")
            engines.append(run.details["engine"])
    assert engines == ["incremental", "whole images", "incremental", "whole images"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_fused_method_runs_on_weights_in_16_bits(dtype):
    model, x = bridge.wrap(seeded(Plain).to(dtype)), images().to(dtype)
    many = run_many(model, x, LABELS, {name: quick(name) for name in FAST})
    assert not many.failures
    for name in FAST:
        expected = bridge.run(name, model, x, LABELS, **quick(name)).output
        assert many[name].output.dtype == expected.dtype == dtype
        # Of sums over a path the reference itself rounds each term: two digits are left.
        scale = float(expected.abs().max())
        assert float((many[name].output - expected).abs().max()) <= 0.06 * scale, name


def test_the_smallest_epsilon_is_found_under_autocast():
    model, x = bridge.wrap(seeded(Plain)), images()
    expected = minimal_epsilon(model, x, LABELS, steps=5).epsilon
    with torch.autocast("cpu", torch.bfloat16):
        found = minimal_epsilon(model, x, LABELS, steps=5).epsilon
    assert torch.allclose(found, expected, atol=0.05)
