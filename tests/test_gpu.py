"""The same agreement on a GPU; without one these tests are skipped, and say so."""

from __future__ import annotations

import pytest
import torch

import bridge
from bridge.fused import chunk_size, run_many
from bridge.fused.accelerate import accelerated
from tests.networks import Plain, images, seeded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_every_reference_agrees_with_its_twins_on_the_gpu():
    model = bridge.wrap(seeded(Plain).cuda())
    c = bridge.compare(model, images().cuda(), [0, 1, 2], repeats=1, progress=False)
    differing = c.agreement[~c.agreement["verdict"].isin(["equal", "rounding"])]
    known = {
        (name, library)
        for name in bridge.methods()
        for library, twin in bridge.registry.get(name).twins.items()
        if twin.everywhere
    }
    found = set(zip(differing["method"], differing["implementation"], strict=True))
    assert found <= known, differing.to_string()
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


def test_the_fused_engine_agrees_on_the_gpu_and_chunks_by_memory():
    model, x, labels = (
        bridge.wrap(seeded(Plain).cuda()),
        images(64).cuda(),
        torch.arange(64).cuda() % 4,
    )
    methods = {name: {} for name in bridge.methods() if bridge.registry.get(name).fast}
    many = run_many(model, x, labels, methods)
    assert not many.failures
    for name in ("saliency", "layer_gradcam", "integrated_gradients", "occlusion", "fgsm"):
        expected = bridge.run(name, model, x, labels).output
        torch.testing.assert_close(
            many[name].output, expected, rtol=0, atol=1e-4 * float(expected.abs().max())
        )


def test_several_epsilons_start_from_the_same_random_numbers_on_the_gpu():
    model, x = bridge.wrap(seeded(Plain).double().cuda()), images().double().cuda()
    params = {"epsilon": [0.05, 0.2], "steps": 3}
    batch = bridge.run("pgd", model, x, [0, 1, 2], implementation="fused", **params).output
    loop = bridge.run("pgd", model, x, [0, 1, 2], **params).output
    torch.testing.assert_close(batch, loop, rtol=0, atol=1e-10)


def test_a_cuda_graph_gives_the_same_gradients():
    model, x = bridge.wrap(seeded(Plain).cuda()), images().cuda()
    fast = accelerated(model, "cuda_graph", x)
    ours = bridge.run("pgd", fast, x, [0, 1, 2], implementation="fused", steps=5).output
    expected = bridge.run("pgd", model, x, [0, 1, 2], steps=5).output
    assert (
        float((ours - expected).abs().gt(1e-5).float().mean()) < 0.01
    )  # a flipped sign moves a pixel


@pytest.mark.parametrize("method", ["bim", "pgd", "mi_fgsm"])
def test_descents_by_a_cuda_graph_fool_as_many(method):
    model, x = bridge.wrap(seeded(Plain).cuda()), images().cuda()
    fast = accelerated(model, "cuda_graph", x)
    ours = bridge.run(method, fast, x, [0, 1, 2], implementation="fused", steps=5).output
    expected = bridge.run(method, model, x, [0, 1, 2], steps=5).output
    assert float((ours - expected).abs().gt(1e-5).float().mean()) < 0.01


def test_gradients_in_16_bits_are_two_digits_of_those_in_32():
    model, x = bridge.wrap(seeded(Plain).cuda()), images().cuda()
    fast = accelerated(model, "bf16", x)
    ours = bridge.run("saliency", fast, x, [0, 1, 2], implementation="fused").output
    expected = bridge.run("saliency", model, x, [0, 1, 2]).output
    assert float((ours - expected).norm() / expected.norm()) < 0.05


def test_folding_gives_the_same_gradients_on_the_gpu():
    model, x = bridge.wrap(seeded(Plain).double().cuda()), images().double().cuda()
    fast = accelerated(model, "fold", x)
    ours = bridge.run("saliency", fast, x, [0, 1, 2], implementation="fused").output
    expected = bridge.run("saliency", model, x, [0, 1, 2]).output
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def test_chunks_leave_half_of_the_free_memory():
    """A network whose activations are most of what there is: no chunk runs out of memory."""
    model = bridge.wrap(seeded(Plain).cuda())
    x = images(64, (3, 512, 512)).cuda()
    labels = torch.arange(64).cuda() % 4
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.reset_peak_memory_stats()
    run = bridge.run("integrated_gradients", model, x, labels, implementation="fused", n_steps=8)
    assert torch.cuda.max_memory_allocated() < 0.9 * total
    with chunk_size(4):
        few = bridge.run(
            "integrated_gradients", model, x, labels, implementation="fused", n_steps=8
        )
    scale = float(few.output.abs().max())
    torch.testing.assert_close(run.output, few.output, rtol=0, atol=1e-3 * scale)
