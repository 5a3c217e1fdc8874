"""One file and one registration a method, and the rules that keep it so."""

from __future__ import annotations

import ast
import inspect
import pickle
from pathlib import Path

import pytest
import torch

import bridge
from bridge.core import registry
from bridge.core.method import Fused

PACKAGE = Path(bridge.__file__).parent
METHOD_FILES = [
    p for kind in ("attributions", "attacks") for p in sorted((PACKAGE / kind).glob("[a-z]*.py"))
]


def test_every_method_of_the_card_is_there():
    card = {
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "layer_gradcam",
        "guided_backprop",
        "deconvolution",
        "guided_gradcam",
        "occlusion",
        "smooth_grad",
        "occlusion_x_gradient",
        "fgsm",
        "fgm_l2",
        "bim",
        "pgd",
        "pgd_l2",
        "deepfool_l2",
        "uniform_noise_linf",
        "fast_gradient_value",
        "fool",
    }
    assert card <= set(bridge.methods())
    without = {"occlusion_x_gradient", "fast_gradient_value", "fool"}
    for name in card:
        assert bool(registry.get(name).twins) == (name not in without)


@pytest.mark.parametrize("path", METHOD_FILES, ids=lambda p: p.stem)
def test_a_method_file_is_named_after_its_method_and_imports_no_other(path):
    method = registry.get(path.stem)
    assert inspect.getsourcefile(method.reference) == str(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ("bridge.attributions.", "bridge.attacks.")
        ):
            assert node.module.rpartition(".")[2].startswith("_"), (
                f"{path.name} imports {node.module}"
            )


@pytest.mark.parametrize("path", METHOD_FILES, ids=lambda p: p.stem)
def test_libraries_are_imported_inside_twins_only(path):
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not any(
                name in ast.unparse(node) for name in ("captum", "foolbox", "eagerpy")
            ) or "bridge." in ast.unparse(node)


@pytest.mark.parametrize("name", bridge.methods())
def test_every_reference_says_its_equation_and_every_twin_takes_its_parameters(name):
    method = registry.get(name)
    assert len(method.summary) > 20
    reference = list(inspect.signature(method.reference).parameters)
    assert reference[0] == "model"
    for twin in method.twins.values():
        parameters = inspect.signature(twin.function).parameters
        named = [p.name for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
        if len(named) == len(parameters):
            assert named == reference
        else:  # what it does not name, it takes as **params
            assert named[:3] == reference[:3]
            assert set(named) <= set(reference)
        assert all(p.default is inspect.Parameter.empty for p in parameters.values()), (
            "a twin's defaults would hide ours"
        )


@pytest.mark.parametrize("name", bridge.methods())
def test_a_method_looks_like_its_function(name):
    method = registry.get(name)
    assert method.__name__ == method.reference.__name__ == name
    assert method.__doc__ == method.reference.__doc__
    assert method.__module__ == method.reference.__module__
    assert inspect.signature(method) == inspect.signature(method.reference)
    assert pickle.loads(pickle.dumps(method)) is method
    assert name in repr(method)


@pytest.mark.parametrize("name", bridge.methods())
def test_implementations_have_names_and_there_is_at_most_one_fast_one(name):
    method = registry.get(name)
    assert method.fast is None or isinstance(method.fast, Fused)
    assert ("fused" in method.implementations()) == (method.fast is not None)
    if method.fast is not None:
        assert method.function("fused") is method.fast
        assert method.fast.function.__name__ not in ("_", "<lambda>")
    for library, twin in method.twins.items():
        assert twin.library == library
        assert twin.function.__name__ not in ("_", "<lambda>")
    for variant in method.variants:
        assert variant.sentence
        assert callable(variant.function)
    sentences = [variant.sentence for variant in method.variants]
    assert len(sentences) == len(set(sentences))


@pytest.mark.parametrize("name", bridge.methods())
def test_the_small_parameters_in_the_tags_are_parameters_that_make_sense(name):
    method = registry.get(name)
    x = torch.zeros(1, 3, 8, 10)
    for size in ("quick", "quickest", "tiny"):
        tagged = getattr(method.tags, size)
        method.check(x, method.bind({k: v(8) if callable(v) else v for k, v in tagged.items()}))


def test_a_users_own_method_appears_everywhere(fashion):
    @bridge.attribution("gradient_times_two", paper="ours")
    def gradient_times_two(model, x, target, *, factor: float = 2.0):
        """factor * d logit_t / d x."""
        return factor * bridge.gradients.input_gradient(model, x, target)

    @gradient_times_two.twin("captum")
    def captum(model, x, target, *, factor):
        from captum.attr import Saliency

        return factor * Saliency(model).attribute(x, target=target, abs=False)

    try:
        assert "gradient_times_two" in bridge.methods()
        c = bridge.compare(*fashion, methods=["gradient_times_two"], repeats=1, progress=False)
        assert c.agreement["verdict"].tolist() == ["equal"]
        with pytest.raises(ValueError, match="registered already"):
            bridge.attribution("gradient_times_two")(lambda model, x, target: x)
    finally:
        del registry._METHODS["gradient_times_two"]


def test_a_plug_in_that_breaks_takes_nothing_with_it(monkeypatch):
    class Broken:
        name, value = "broken", "nowhere:nothing"

        def load(self):
            raise ImportError("nowhere")

    monkeypatch.setattr(registry, "_loaded", False)
    monkeypatch.setattr(registry, "entry_points", lambda group: [Broken()])
    with pytest.warns(UserWarning, match="nowhere:nothing"):
        assert "saliency" in registry.methods()


def test_the_function_is_what_bridge_run_and_bridge_compare_mean():
    import bridge.core.engine
    import bridge.study.compare

    assert callable(bridge.run)
    assert callable(bridge.compare)
    assert {"run", "compare", "wrap", "methods", "registry"} <= set(dir(bridge))
    with pytest.raises(AttributeError, match="nope"):
        bridge.nope  # noqa: B018


def test_captums_word_method_is_a_parameter_of_run(fashion):
    model, x, labels = fashion
    left, right = (
        bridge.run(
            "integrated_gradients", model, x, labels, method=f"riemann_{side}", n_steps=3
        ).output
        for side in ("left", "right")
    )
    assert not torch.equal(left, right)
