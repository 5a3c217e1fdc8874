"""The same agreement on a GPU; without one these tests are skipped, and say so."""

from __future__ import annotations

import pytest
import torch

import bridge
from tests.networks import Plain, images, seeded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_every_reference_agrees_with_its_twins_on_the_gpu():
    model = bridge.wrap(seeded(Plain).cuda())
    c = bridge.compare(model, images().cuda(), [0, 1, 2], repeats=1, progress=False)
    differing = c.agreement[~c.agreement["verdict"].isin(["equal", "rounding"])]
    assert set(differing["method"]) <= {"uniform_noise_linf"}, differing.to_string()
    assert c.failures.empty, c.failures.to_string()
    assert c.x.device.type == "cpu"


def test_the_gpus_random_state_is_put_back():
    model = bridge.wrap(seeded(Plain).cuda())
    before = torch.cuda.get_rng_state()
    for implementation in ("reference", "foolbox"):
        bridge.run("pgd", model, images().cuda(), [0, 1, 2], implementation=implementation, steps=2)
    assert torch.equal(before, torch.cuda.get_rng_state())


def test_images_on_another_device_are_refused():
    with pytest.raises(ValueError, match="cuda"):
        bridge.run("saliency", bridge.wrap(seeded(Plain).cuda()), images(), [0, 1, 2])
