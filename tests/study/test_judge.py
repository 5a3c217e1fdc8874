"""Verdicts say what they rest on: nothing at all, values that are not finite, a confirmed cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.metrics import agreement
from bridge.metrics.agreement import ZERO, gaps, image_scale
from tests.networks import Plain, Skip, images, seeded

LABELS = [0, 1, 2]
GUIDED = ("guided_backprop", "deconvolution", "guided_gradcam")


def compared(module: nn.Module, methods, x: Tensor | None = None, **options) -> bridge.Comparison:
    x = images() if x is None else x
    options = {"repeats": 1, "progress": False, **options}
    return bridge.compare(bridge.wrap(module), x, LABELS, methods=methods, **options)


def causes(found: bridge.Comparison) -> dict[tuple[str, str], str]:
    rows = found.agreement
    return {
        (m, i): cause
        for m, i, cause in zip(rows["method"], rows["implementation"], rows["cause"], strict=True)
    }


def zero_head() -> nn.Module:
    """As a transformer's head that was never trained."""
    module = seeded(Plain)
    nn.init.zeros_(module[9].weight)
    return module


def test_an_agreement_over_zero_maps_says_that_it_says_nothing():
    found = compared(zero_head(), ["saliency", "layer_gradcam", "occlusion"])
    assert set(found.agreement["verdict"]) <= {"equal", "rounding"}
    for cause in causes(found).values():
        assert cause == f"{ZERO}: both are zero everywhere"


def test_an_attack_that_moves_nothing_says_so_and_epsilon_zero_does_not():
    found = compared(zero_head(), ["fgsm"], epsilons=[0.1])
    assert set(causes(found).values()) == {f"{ZERO}: both leave every image as it is"}
    assert set(causes(compared(seeded(Plain), ["fgsm"], epsilons=[0.0])).values()) == {""}


def test_zero_maps_of_some_images_are_counted():
    class Dark(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = seeded(Plain)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * (x.flatten(1).amax(1) > 0.05)[:, None]

    x = images()
    x[1] = 0.01
    found = compared(Dark().eval(), ["saliency"], x)
    assert set(causes(found).values()) == {"both are zero on images [1]"}
    assert set(causes(compared(seeded(Plain), ["saliency"])).values()) == {""}


def test_values_that_are_not_finite_in_both_are_no_disagreement():
    class Root(nn.Module):
        """The gradient of a root is infinite where it is zero."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = seeded(Plain)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + x[:, 0, 0, :1].sqrt()

    x = images()
    x[2, 0, 0, 0] = 0
    found = compared(Root().eval(), ["saliency"], x)
    assert set(found.agreement["verdict"]) == {"equal"}
    assert set(causes(found).values()) == {"both have values that are not finite, on images [2]"}


def test_gaps_between_infinities_and_nan():
    nan, inf = torch.nan, torch.inf
    a = torch.tensor([[1.0, nan], [inf, 2.0], [-inf, 0.0], [nan, 0.0]])
    b = torch.tensor([[1.0, nan], [inf, 3.0], [inf, 0.0], [1.0, 0.0]])
    assert gaps(a, b, 1.0).tolist() == [0.0, 1.0, inf, inf]
    assert image_scale(b).tolist() == [1.0, 3.0, 3.0, 1.0]


@pytest.mark.parametrize("name", GUIDED)
def test_a_known_cause_is_printed_where_it_was_verified(name):
    assert "skip path" in causes(compared(seeded(Skip), [name]))[name, "captum"]


@pytest.mark.parametrize("name", [*GUIDED, "uniform_noise_linf"])
def test_a_known_cause_is_not_printed_of_another_disagreement(name, monkeypatch):
    """Whatever else a library does on this very model is not explained by what is known of it."""
    method = bridge.registry.get(name)
    library = next(iter(method.twins))
    twin = method.twins[library]

    def broken(model, x, target, **params):
        return twin.function(model, x, target, **params) * (1 + 0.01 * x)

    monkeypatch.setitem(method.twins, library, replace(twin, function=broken))
    for build in (Plain, Skip):
        found = compared(seeded(build), [name])
        rows = found.agreement.query(f"implementation == '{library}'")
        assert set(rows["verdict"]) == {"differs"}
        assert causes(found)[name, library] == ""


def test_every_twin_that_is_known_to_differ_can_be_verified():
    for name in bridge.methods():
        for twin in bridge.registry.get(name).twins.values():
            assert bool(twin.differs) == (twin.instead is not None), (name, twin.library)


def test_the_known_cause_is_not_computed_where_nothing_differs():
    def asked() -> str:
        raise AssertionError("asked")

    one = torch.ones(2, 3, dtype=torch.float64)
    found = agreement.judge(one, one, one, one, noise=0.0, known_cause=asked)
    assert (found.verdict, found.cause) == ("equal", "")
