"""A scripted, traced, exported, quantised or compiled model works, or is named as what it is."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import bridge
from bridge.core.kinds import kind_of
from bridge.fused import run_many
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2, 3]
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*(TracerWarning|torch.ao):"),
]


def scripted() -> nn.Module:
    return torch.jit.script(seeded(Plain))


def traced() -> nn.Module:
    return torch.jit.trace(seeded(Plain), images(4))


def exported() -> nn.Module:
    return torch.export.export(seeded(Plain), (images(4),)).module()


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert = torch.ao.quantization.quantize_dynamic
        return convert(seeded(Plain), {nn.Linear}, dtype=torch.qint8).eval()


def graph() -> nn.Module:
    return torch.fx.symbolic_trace(seeded(Plain))


def compiled() -> nn.Module:
    return torch.compile(seeded(Plain), backend="eager")


def compiled_in_place() -> nn.Module:
    module = seeded(Plain)
    module.compile(backend="eager")
    return module


def compiled_part() -> nn.Module:
    return nn.Sequential(torch.compile(seeded(Plain), backend="eager"), nn.Identity()).eval()


KINDS = {
    scripted: "a scripted model (torch.jit.script)",
    traced: "a traced model (torch.jit.trace)",
    exported: "an exported program (torch.export)",
    quantised: "a quantised model",
    graph: "a torch.fx graph",
    compiled: "a compiled model (torch.compile)",
    compiled_in_place: "a compiled model (torch.compile)",
    compiled_part: "a compiled model (torch.compile)",
}


@pytest.mark.parametrize("build", KINDS)
def test_every_kind_has_its_name(build):
    assert kind_of(build()) == KINDS[build]
    assert kind_of(seeded(Plain)) == ""


@pytest.mark.parametrize("build", [scripted, traced, graph, compiled, compiled_in_place])
def test_what_needs_no_hook_inside_gives_the_plain_models_numbers(build):
    model, plain, x = bridge.wrap(build()), bridge.wrap(seeded(Plain)), images(4)
    for method, params in {"saliency": {}, "pgd": {"steps": 3}, "occlusion": {}}.items():
        for implementation in bridge.registry.get(method).implementations():
            found, expected = (
                bridge.run(method, each, x, LABELS, implementation=implementation, **params)
                for each in (model, plain)
            )
            assert torch.allclose(found.output, expected.output, atol=1e-6), implementation
            if "windows" not in expected.details:  # which are not counted where they are followed
                assert (found.forwards, found.backwards) == (expected.forwards, expected.backwards)


@pytest.mark.parametrize("build", [graph, compiled, compiled_in_place, compiled_part])
def test_hooks_inside_compiled_models_are_called_and_do_not_stay(build):
    """Guided backprop of a compiled model was its plain gradient, by all implementations."""
    model, plain, x = bridge.wrap(build()), bridge.wrap(seeded(Plain)), images(4)
    for method in ("guided_backprop", "saliency", "layer_gradcam", "guided_gradcam", "saliency"):
        for implementation in bridge.registry.get(method).implementations():
            found, expected = (
                bridge.run(method, each, x, LABELS, implementation=implementation).output
                for each in (model, plain)
            )
            assert torch.allclose(found, expected, atol=1e-7), (method, implementation)
    names = {"saliency": {}, "guided_backprop": {}, "layer_gradcam": {}}
    found, expected = (run_many(each, x, LABELS, names) for each in (model, plain))
    assert not found.failures
    for name in names:
        assert torch.allclose(found[name].output, expected[name].output, atol=1e-7), name


@pytest.mark.parametrize("build", [scripted, traced, exported])
@pytest.mark.parametrize("method", ["guided_backprop", "layer_gradcam", "guided_gradcam"])
@pytest.mark.filterwarnings("ignore::bridge.core.types.BridgeWarning")
def test_what_needs_hooks_inside_names_the_kind_and_the_remedy(build, method):
    for implementation in bridge.registry.get(method).implementations():
        with pytest.raises(ValueError) as refusal:
            bridge.run(method, build(), images(4), LABELS, implementation=implementation)
        assert KINDS[build] in str(refusal.value)
        assert "the module that it was made of" in str(refusal.value)


@pytest.mark.filterwarnings("ignore:.*autograd kernel")
def test_a_quantised_model_has_no_gradient_and_is_named():
    """The reference of guided backprop gave zeros without a word."""
    model, x = bridge.wrap(quantised()), images(4)
    with pytest.warns(bridge.BridgeWarning, match="a quantised model, is no function of one image"):
        bridge.run("occlusion", model, x, LABELS)  # its scale is taken of the whole batch
    for method in ("guided_backprop", "saliency", "pgd"):
        for implementation in bridge.registry.get(method).implementations():
            with pytest.raises(ValueError, match=r"none reaches .* Plain, a quantised model$"):
                bridge.run(method, model, x, LABELS, implementation=implementation)


def test_a_model_exported_for_one_batch_size_says_so():
    model = bridge.wrap(exported())
    with pytest.warns(bridge.BridgeWarning, match=r"exported program.* batches of 4 images only"):
        bridge.run("saliency", model, images(4), LABELS)
    with pytest.raises(
        ValueError, match=r"exported program.* batches of 4 images only, these are 8"
    ):
        bridge.run("saliency", model, images(8), LABELS * 2)
    with pytest.raises(ValueError, match=r"exported program.* cannot take images .*Guard failed"):
        bridge.run("saliency", exported(), images(2), [0, 1])


def test_a_lazy_model_is_asked_to_see_a_batch_first():
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(4)).eval()
    with pytest.raises(ValueError, match=r"'1.weight' of Sequential has no shape yet"):
        bridge.run("saliency", lazy, images(4), LABELS)
