"""A comparison: what it runs, what it refuses, and what a failure costs."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import bridge
from tests.networks import attentive, images

FEW = {"pgd": {"steps": 4, "step_size": 0.02}, "integrated_gradients": {"n_steps": 4}}


@pytest.fixture(scope="module")
def comparison(fashion):
    model, x, labels = fashion
    return bridge.compare(
        model,
        x,
        labels,
        methods=["saliency", "integrated_gradients", "layer_gradcam", "fgsm", "pgd", "fool"],
        params=FEW,
        epsilons=[0.0, 2 / 255, 16 / 255],
        repeats=3,
        progress=False,
    )


def test_the_tables_have_a_row_for_everything_that_ran(comparison):
    c = comparison
    assert len(c.agreement) == 2 * (3 + 2 * 3) + 1  # fused and a library; of fool only fused
    assert set(c.agreement["verdict"]) <= {"equal", "rounding"}
    assert len(c.similarity) == 3
    assert c.similarity[["spearman", "top10_iou", "ssim", "cosine"]].abs().max().max() <= 1
    assert len(c.runtime) == 3 * 3 + 3 * 2 * 3 + 2
    assert c.runtime["repeats"].between(1, 3).all()  # of slow ones fewer
    assert (c.runtime["images"] == 4).all()
    assert (c.runtime["seconds"] > 0).all()
    assert len(c.attacks) == 3 * 2 * 3 + 2
    assert len(c.predictions) == 4 * (1 + 3 * 2 * 3 + 2)
    assert c.failures.empty
    assert set(c.outputs) == {
        (r.method, r.implementation, None if pd.isna(r.epsilon) else r.epsilon)
        for r in c.runtime.itertuples()
    }


def test_passes_of_the_model_are_counted(comparison):
    passes = {
        (r.method, r.implementation): (r.forwards, r.backwards)
        for r in comparison.runtime.itertuples()
        if r.epsilon != 2 / 255
    }
    assert passes["saliency", "reference"] == (4, 4)
    assert passes["integrated_gradients", "captum"] == (16, 16)
    assert passes["fgsm", "reference"] == (4, 4)
    assert passes["fgsm", "foolbox"] == (8, 4)  # one more to see whether it succeeded
    assert passes["pgd", "reference"] == (16, 16)


def test_all_fused_methods_in_one_plan_take_fewer_passes_than_one_after_another(comparison):
    together = comparison.manifest["together"]
    assert together["methods"] == [
        "saliency",
        "integrated_gradients",
        "layer_gradcam",
        "fgsm",
        "pgd",
        "fool",
    ]
    alone = together["one_after_another"]
    assert together["forwards"] < alone["fused"]["forwards"]
    assert together["backwards"] < alone["reference"]["backwards"]
    assert "1 backward             of the loss" in together["explained"]


def test_a_larger_epsilon_never_fools_fewer_here_and_none_fools_nothing(comparison):
    pgd = comparison.attacks.query("method == 'pgd' and implementation == 'reference'").set_index(
        "epsilon"
    )["success"]
    assert pgd.is_monotonic_increasing
    assert pgd.iloc[0] == 0
    assert pgd.iloc[-1] > 0


def test_the_summary_reads_verdicts_first(comparison):
    text = str(comparison)
    assert text.startswith("11 of 11 pairs agree")
    assert "All 6 fused methods in one plan" in text
    headings = ("AGREEMENT", "ATTACKS", "RUNTIME", "SIMILARITY", "HOW FAR ATTACKS MOVE")
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "16/255" in text
    assert "nan" not in text.lower().replace("nano", "")


def test_the_figure_is_written_without_a_display(comparison, tmp_path):
    from PIL import Image

    path = comparison.figure(tmp_path / "panels.png")
    with Image.open(path) as image:
        assert min(image.size) > 300
        assert len(image.convert("RGB").getcolors(1 << 24)) > 300  # a picture, not an empty canvas


def test_ctrl_c_keeps_what_was_computed(fashion):
    model, x, labels = fashion

    def interrupted(model, x, labels, *, epsilon):
        raise KeyboardInterrupt

    c = bridge.compare(
        model,
        x,
        labels,
        methods=["saliency", "fgsm"],
        functions={"fgsm": interrupted},
        repeats=1,
        progress=False,
    )
    assert ("saliency", "captum", None) in c.outputs
    assert "KeyboardInterrupt" in c.failures["error"].tolist()


def test_attributions_explain_the_target_and_attacks_start_from_the_label(fashion):
    model, x, labels = fashion
    target = (labels + 1) % 10
    c = bridge.compare(
        model,
        x,
        labels,
        target=target,
        methods=["saliency", "fgsm"],
        epsilons=[0.1],
        repeats=1,
        progress=False,
    )
    assert torch.equal(
        c.outputs["saliency", "reference", None], bridge.run("saliency", model, x, target).output
    )
    assert torch.equal(
        c.outputs["fgsm", "reference", 0.1],
        bridge.run("fgsm", model, x, labels, epsilon=0.1).output,
    )
    with pytest.raises(ValueError, match="target"):
        bridge.compare(model, x, labels, target=target[:2], progress=False)


def test_two_functions_of_one_name_are_told_apart(fashion):
    model, x, labels = fashion
    c = bridge.compare(
        model,
        x,
        labels,
        methods=["saliency"],
        implementations=["reference"],
        functions={"saliency": [lambda m, x, t: x, lambda m, x, t: -x]},
        repeats=1,
        progress=False,
    )
    assert list(c.agreement["implementation"]) == ["<lambda>", "<lambda>_2"]


def test_an_implementation_that_draws_its_own_numbers_is_compared_under_the_same_seed(fashion):
    model, x, labels = fashion

    def own(model, x, labels, *, epsilon, steps):
        return bridge.registry.get("pgd")(model, x, labels, epsilon=epsilon, steps=steps)

    c = bridge.compare(
        model,
        x,
        labels,
        methods=["pgd"],
        implementations=["reference"],
        functions={"pgd": own},
        params={"pgd": {"steps": 2}},
        epsilons=[8 / 255],
        repeats=1,
        progress=False,
    )
    assert c.agreement["verdict"].tolist() == ["equal"]


def test_epsilons_by_norm_and_by_method(fashion):
    model, x, labels = fashion
    c = bridge.compare(
        model,
        x,
        labels,
        methods=["fgsm", "bim", "fgm_l2", "deepfool_l2"],
        implementations=["reference"],
        repeats=1,
        progress=False,
        epsilons={"linf": [0.1], "bim": [0.2, 0.3], "l2": [1]},
        params={"bim": {"steps": 1}, "deepfool_l2": {"epsilon": 0.5}},
    )
    found = c.attacks.groupby("method")["epsilon"].apply(list).to_dict()
    assert found == {"fgsm": [0.1], "bim": [0.2, 0.3], "fgm_l2": [1.0], "deepfool_l2": [0.5]}


@pytest.mark.parametrize(
    "request_, error, words",
    [
        ({"epsilons": {"l1": [1]}}, KeyError, "'l1' is not a norm.* l2"),
        ({"epsilons": {"pgdd": [1]}}, KeyError, "did you mean .*pgd"),
        ({"epsilons": {"saliency": [1]}}, KeyError, "'saliency' is not a norm"),
        ({"epsilons": {"fgsm": [0.1]}, "methods": ["pgd"]}, KeyError, "'fgsm' is not a norm"),
        ({"epsilons": {"linf": []}}, ValueError, "empty list"),
        ({"epsilons": [0.1, -0.1]}, ValueError, "epsilon must be .* of 0 or more.*-0.1"),
        ({"params": {"pgd": {"steps": 0}}}, ValueError, "steps must be a whole number of 1"),
        ({"params": {"pgd": {"steps": 2.5}}}, TypeError, "steps must be a whole number"),
        ({"params": {"fgsmm": {}}}, KeyError, "did you mean .*fgsm"),
        ({"implementations": ["capum"]}, KeyError, "did you mean captum"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_runs(
    fashion, request_, error, words
):
    ran = []

    def spy(model, x, target):
        ran.append(x)
        return x

    options = {"methods": ["saliency", "fgsm", "pgd"], **request_}
    if "saliency" in options["methods"]:
        options["functions"] = {"saliency": spy}
    with pytest.raises(error, match=words):
        bridge.compare(*fashion, **options, progress=False)
    assert not ran


def test_a_twin_never_gets_a_budget_that_the_reference_would_refuse(fashion):
    with pytest.raises(ValueError, match="epsilon"):
        bridge.compare(
            *fashion,
            methods=["fgsm"],
            implementations=["foolbox"],
            epsilons=[-0.1],
            progress=False,
        )


def test_a_network_without_relus_or_layers_still_gets_everything_else():
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 3)).eval()
    c = bridge.compare(bridge.wrap(linear), images(2, (3, 3, 3)), [0, 1], repeats=1, progress=False)
    unavailable = {"guided_backprop", "deconvolution", "guided_gradcam", "layer_gradcam"}
    assert set(c.failures["method"]) == unavailable
    rest = {m for m in bridge.methods() if not attentive(bridge.registry.get(m))}
    assert {m for m, _, _ in c.outputs} == rest - unavailable


def test_gradient_masking_is_said_and_not_taken_for_robustness(fashion):
    class Scaled(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) * 1000

    model, x, labels = fashion
    masked = bridge.wrap(Scaled(model).eval())
    c = bridge.compare(
        masked,
        x,
        labels,
        methods=["fgsm"],
        implementations=["reference"],
        repeats=1,
        progress=False,
    )
    assert "gradient masking" in str(c)
    assert c.attacks["unchanged"].min() >= 2
    plain = bridge.compare(
        model, x, labels, methods=["fgsm"], implementations=["reference"], repeats=1, progress=False
    )
    assert "gradient masking" not in str(plain)


def test_an_attack_that_returns_another_dtype_is_a_failure_and_loses_nothing(fashion):
    model, x, labels = fashion
    c = bridge.compare(
        model,
        x,
        labels,
        methods=["fgsm"],
        functions={"fgsm": lambda m, x, t, epsilon: x.half()},
        epsilons=[0.1],
        repeats=1,
        progress=False,
    )
    assert c.verdicts().loc["fgsm"].to_dict() == {
        "fused": "equal",
        "foolbox": "equal",
        "<lambda>": "failed",
    }
    assert "torch.float16" in c.failures["message"].iloc[0]
