"""16 bits, channels last, deterministic mode and other devices: judged by what they leave."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

import bridge
from bridge.core.gradients import input_gradient
from bridge.core.types import Direction
from bridge.metrics import agreement
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2]
METHODS = ("saliency", "integrated_gradients", "layer_gradcam", "occlusion", "fgsm", "pgd")
PARAMS = {"integrated_gradients": {"n_steps": 8}, "pgd": {"steps": 3}}


def mirrored(model, x, target):
    """Right in float64, where agreement is judged, and a mirror image in 16 bits."""
    gradient = input_gradient(model, x, target).abs()
    return gradient if x.dtype == torch.float64 else gradient.flip(3)


def compared(model, x, **options):
    return bridge.compare(
        model, x, LABELS, methods=METHODS, params=PARAMS, repeats=1, progress=False, **options
    )


CASES = {
    "autocast to bfloat16": (torch.float32, torch.bfloat16),
    "autocast to float16": (torch.float32, torch.float16),
    "weights in float16": (torch.float16, None),
    "weights in bfloat16": (torch.bfloat16, None),
}


@pytest.mark.parametrize("case", CASES)
def test_implementations_in_16_bits_are_judged_by_rank_and_cosine(case):
    dtype, cast = CASES[case]
    model = bridge.wrap(seeded(Plain).to(dtype), mean=0.4, std=0.3)
    with torch.autocast("cpu", cast) if cast else nullcontext():
        found = compared(model, images().to(dtype), functions={"saliency": [mirrored]})
    assert found.failures.empty
    rows = found.agreement.set_index(["method", "implementation"])
    assert rows.loc[("saliency", "mirrored"), "verdict_float32"] == "differs"
    others = rows.drop(index=("saliency", "mirrored"))
    assert set(others["verdict"]) | set(others["verdict_float32"]) <= {"equal", "rounding"}
    left = found.tables["precision"].set_index(["method", "implementation"])
    assert len(left) == len(rows)
    maps = left.drop(index=["fgsm", "pgd"], level="method").drop(index=("saliency", "mirrored"))
    assert float(maps["cosine"].min()) > 0.95
    assert float(maps["reference_cosine"].min()) > 0.95
    assert float(left.loc[("saliency", "mirrored"), "cosine"]) < 0.9
    assert "WHAT 16 BITS LEAVE" in str(found)
    assert not found.tables["attacks"]["invalid"].any()


def test_what_is_computed_in_32_bits_is_judged_by_gaps():
    found = compared(seeded(Plain), images())
    assert found.tables["precision"].empty
    assert set(found.agreement["verdict_float32"]) <= {"equal", "rounding"}


@pytest.mark.parametrize(
    "found, right",
    [
        (Direction(0.94, 0.97, 0.94, 0.97), True),
        (Direction(0.60, 0.90, 0.94, 0.97), True),
        (Direction(0.40, 0.90, 0.94, 0.97), False),
        (Direction(0.94, 0.60, 0.94, 0.97), False),
        (Direction(0.98, 0.98, 1.00, 1.00), True),  # no closer than the format's own digits
        (Direction(0.96, 0.98, 1.00, 1.00), False),
    ],
)
def test_an_implementation_is_turned_no_further_than_eight_times_the_reference(found, right):
    assert agreement.alike(found) is right


def test_maps_that_are_zero_in_both_are_alike():
    nothing = torch.zeros(2, 3, 4, 4)
    found = agreement.directed(nothing, nothing, nothing.double())
    assert (found.rank, found.cosine) == (1.0, 1.0)
    something = torch.rand(2, 3, 4, 4)
    assert agreement.directed(nothing, something, something.double()).cosine == 0.0


def test_how_it_was_computed_is_recorded():
    with torch.autocast("cpu", torch.bfloat16):
        card = bridge.compare(
            seeded(Plain), images(), LABELS, methods=["saliency"], progress=False
        ).manifest["device"]
    assert (card["autocast"], card["deterministic"]) == ("torch.bfloat16", False)


def test_channels_last_gives_the_same_maps_and_attacks_and_stays():
    model = bridge.wrap(seeded(Plain).double().to(memory_format=torch.channels_last))
    x = images().double()
    given = x.to(memory_format=torch.channels_last)
    for name in METHODS:
        for implementation in bridge.registry.get(name).implementations():
            options = {"implementation": implementation, **PARAMS.get(name, {})}
            found = bridge.run(name, model, given, LABELS, **options).output
            expected = bridge.run(name, seeded(Plain).double(), x, LABELS, **options).output
            assert torch.allclose(found, expected, atol=1e-6), (name, implementation)
    assert model.module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert given.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_deterministic_mode_is_honoured(deterministic):
    found = compared(seeded(Plain), images())
    assert found.failures.empty
    assert found.manifest["device"]["deterministic"]
    assert torch.are_deterministic_algorithms_enabled()


class Unpooled(nn.Module):
    """Of max-unpooling there is no deterministic form anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.head = nn.Linear(3 * 144, 4)

    def forward(self, x):
        return self.head(self.unpool(*self.pool(x)).flatten(1))


class Decomposed(nn.Module):
    """Of a QR decomposition there is no form in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 144, 4)

    def forward(self, x):
        return self.head(torch.linalg.qr(x)[0].flatten(1))


def test_an_operation_that_is_not_deterministic_is_told_with_what_helps(deterministic):
    with pytest.raises(ValueError, match=r"is on, which bridge leaves as it is: .*warn_only=True"):
        bridge.run("saliency", seeded(Unpooled), images(), LABELS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_operation_that_16_bits_lack_is_told_with_what_helps(dtype):
    with pytest.raises(ValueError, match=r"has no form in b?float16 here: use float32"):
        bridge.run("saliency", seeded(Decomposed).to(dtype), images().to(dtype), LABELS)


def test_an_operation_that_a_device_lacks_is_told_with_what_helps():
    class Lacking(nn.Module):
        def forward(self, x):
            raise NotImplementedError(
                "The operator 'aten::x' is not currently implemented for the MPS device."
            )

    with pytest.raises(ValueError, match=r"run it on the CPU .*PYTORCH_ENABLE_MPS_FALLBACK=1"):
        bridge.run("saliency", Lacking().eval(), images(), LABELS)


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS device here")
def test_mps_is_judged_in_float64_on_the_cpu():
    found = compared(seeded(Plain).to("mps"), images().to("mps"))
    assert found.failures.empty
    assert set(found.agreement["verdict"]) <= {"equal", "rounding"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("case", CASES)
def test_16_bits_on_cuda_are_judged_by_rank_and_cosine(case):
    dtype, cast = CASES[case]
    with torch.autocast("cuda", cast) if cast else nullcontext():
        found = compared(seeded(Plain).to("cuda", dtype), images().to("cuda", dtype))
    assert found.failures.empty
    assert set(found.agreement["verdict_float32"]) <= {"equal", "rounding"}
    assert not found.tables["precision"].empty
