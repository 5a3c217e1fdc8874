"""Every reference agrees with its twins, in float64 and in float32, on real and on random networks."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

import bridge
from bridge.model import ModelAdapter
from tests.networks import Plain, Reused, Skip, images, seeded

# Small enough to be fast, and every loop still goes round several times.
QUICK = {
    "integrated_gradients": {"n_steps": 8},
    "smooth_grad": {"n_samples": 4},
    "bim": {"steps": 4},
    "pgd": {"steps": 5},
    "pgd_l2": {"steps": 5},
    "deepfool_l2": {"steps": 4},
}
# For networks whose one pass takes a tenth of a second and more (Foolbox also computes the gradients of all weights).
FEW = {
    "integrated_gradients": {"n_steps": 3},
    "smooth_grad": {"n_samples": 2},
    "bim": {"steps": 2},
    "pgd": {"steps": 2},
    "pgd_l2": {"steps": 2},
    "deepfool_l2": {"steps": 2, "candidates": 3},
    "fool": {"steps": 3},
}
# Who is right is shown in test_known_disagreements.py.
KNOWN = {("uniform_noise_linf", "foolbox")}


def check(model: ModelAdapter, x: Tensor, labels: Tensor, params: dict | None = None, known=frozenset(KNOWN)) -> None:
    """Compare everything with everything; only the known disagreements may differ."""
    result = bridge.compare(
        model,
        x,
        labels,
        params={**QUICK, **(params or {})},
        epsilons={"linf": [4 / 255], "l2": [0.5]},
        repeats=1,
        timing_seconds=0.0,  # the first call is time enough here
        progress=False,
    )
    rows = {(r.method, r.implementation): r for r in result.agreement.itertuples()}
    twins = {(n, t) for n in bridge.methods() for t in bridge.registry.get(n).implementations()[1:]}
    assert set(rows) == twins, f"not judged: {twins - set(rows)}; {result.failures.to_string()}"
    for pair in sorted(twins - known):
        assert rows[pair].verdict in ("equal", "rounding"), f"{pair}: {rows[pair]}"
        assert rows[pair].verdict_float32 in ("equal", "rounding"), f"{pair}: {rows[pair]}"
    assert result.failures.empty, result.failures.to_string()


def test_on_the_embedded_classifier_with_real_images(fashion):
    check(*fashion)


def test_on_a_batch_of_one(fashion):
    model, x, labels = fashion
    check(model, x[:1], labels[:1])


def test_on_a_non_square_one_channel_image(fashion):
    model, x, labels = fashion
    wide = torch.cat([x, x[..., :9].flip(-1)], dim=3)
    check(model, wide, labels, {"occlusion": {"window": (5, 7), "stride": (2, 4)}})


def test_on_a_trained_resnet20_with_cifar_images(resnet20):
    model, x, labels = resnet20
    check(model, x[:3], labels[:3], {"occlusion": {"window": 8, "stride": 5, "baseline": 0.4}})


@pytest.mark.slow
def test_on_a_trained_squeezenet_with_photographs(squeezenet):
    model, x, labels = squeezenet
    covered = {"window": 100, "stride": 70}
    check(model, x, labels, {**FEW, "occlusion": covered, "occlusion_x_gradient": covered})


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v3_small"])
def test_on_torchvision_networks_with_random_weights(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None, num_classes=10)
        network.train()
        with torch.no_grad():
            network(torch.randn(8, 3, 64, 64))  # batch norm's statistics, without which activations die out
    # Foolbox computes the gradients of all weights; vgg's 120 million in its classifier would take minutes.
    if name == "vgg11_bn":
        network.classifier = nn.Linear(25088, 10)
    model = bridge.wrap(network.eval(), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    covered = {"window": 32, "stride": 32}
    check(model, images(2, (3, 64, 64)), torch.tensor([3, 7]), {**FEW, "occlusion": covered, "occlusion_x_gradient": covered})


@pytest.mark.parametrize("build", [Plain, Reused])
def test_on_networks_with_in_place_and_reused_relus(build):
    check(bridge.wrap(seeded(build)), images(), torch.tensor([0, 3, 3]))


def test_only_guided_methods_differ_on_a_network_with_skips():
    skips = {("guided_backprop", "captum"), ("guided_gradcam", "captum"), ("deconvolution", "captum")}
    check(bridge.wrap(seeded(Skip)), images(), torch.tensor([0, 1, 2]), known=KNOWN | skips)


# What is not in the defaults: every parameter of every method that has a twin, away from its default.
VARIANTS = [
    *[("integrated_gradients", {"n_steps": 9, "method": m}) for m in ("riemann_left", "riemann_right", "riemann_middle")],
    ("integrated_gradients", {"n_steps": 6, "baseline": 0.3}),
    ("layer_gradcam", {"relu": True}),
    ("layer_gradcam", {"upsample": True}),
    ("layer_gradcam", {"upsample": True, "relu": True}),
    ("guided_gradcam", {"interpolation": "bilinear"}),
    ("occlusion", {"window": 4, "stride": 3, "baseline": 0.5}),
    ("occlusion", {"window": (4, 2), "stride": (1, 2)}),
    ("occlusion", {"window": 12, "stride": 12}),
    ("smooth_grad", {"n_samples": 3, "stdev": 0.5}),
    ("fgsm", {"targeted": True}),
    ("fgm_l2", {"targeted": True}),
    ("bim", {"steps": 7, "step_size": 0.01}),
    ("bim", {"targeted": True}),
    ("pgd", {"steps": 3, "step_size": 0.02, "random_start": False}),
    ("pgd", {"steps": 3, "targeted": True}),
    ("pgd_l2", {"steps": 3, "step_size": 0.2, "random_start": False}),
    ("pgd_l2", {"steps": 3, "targeted": True}),
    ("deepfool_l2", {"overshoot": 0.1, "candidates": 2}),
    ("deepfool_l2", {"candidates": None, "epsilon": 0.2}),
]


@pytest.mark.parametrize("method, params", VARIANTS, ids=lambda value: str(value))
def test_with_parameters_away_from_their_defaults(method, params):
    result = bridge.compare(
        bridge.wrap(seeded(Plain), mean=0.5, std=0.25), images(), torch.tensor([0, 3, 3]), methods=[method],
        params={method: params}, repeats=1, progress=False,
    )  # fmt: skip
    assert result.failures.empty, result.failures.to_string()
    assert len(result.agreement) > 0
    assert set(result.agreement["verdict"]) <= {"equal", "rounding"}, result.agreement.to_string()
    assert set(result.agreement["verdict_float32"]) <= {"equal", "rounding"}, result.agreement.to_string()


def test_with_a_tensor_as_baseline():
    baseline = images(1, seed=5)
    for method in ("integrated_gradients", "occlusion"):
        result = bridge.compare(
            bridge.wrap(seeded(Plain)), images(), torch.tensor([0, 1, 2]), methods=[method],
            params={method: {"baseline": baseline}}, repeats=1, progress=False,
        )  # fmt: skip
        assert set(result.agreement["verdict"]) <= {"equal", "rounding"}, result.agreement.to_string()
        assert result.failures.empty


def test_captums_trapezoid_is_named_as_unsupported_not_as_a_disagreement():
    model = bridge.wrap(seeded(Plain))
    result = bridge.compare(
        model, images(), torch.tensor([0, 1, 2]), methods=["integrated_gradients"],
        implementations=["reference", "captum"], params={"integrated_gradients": {"method": "riemann_trapezoid"}}, repeats=1,
        progress=False,
    )  # fmt: skip
    assert result.agreement.empty
    assert list(result.failures["stage"]) == ["unsupported"]
    assert "(n - 1) / n" in result.failures["message"].iloc[0]
    assert result.verdicts().loc["integrated_gradients", "captum"] == "unsupported"


def test_random_starts_are_compared_from_the_same_tensor(fashion):
    model, x, labels = fashion
    drawn = []

    def own_start(model, x, labels, *, epsilon, start=None, **params):
        drawn.append(start)
        return bridge.registry.get("pgd")(model, x, labels, epsilon=epsilon, start=start, **{**params, "random_start": False})

    result = bridge.compare(
        model, x, labels, methods=["pgd"], implementations=["reference"], functions={"pgd": own_start},
        params={"pgd": {"steps": 3}}, epsilons=[4 / 255], repeats=1, progress=False,
    )  # fmt: skip
    assert result.agreement["verdict"].tolist() == ["equal"]
    assert all(isinstance(start, Tensor) for start in drawn)
    assert {start.dtype for start in drawn} == {torch.float32, torch.float64}


def test_one_method_failing_loses_nothing_else(fashion):
    model, x, labels = fashion

    def broken(model, x, target):
        raise RuntimeError("out of luck")

    def nothing(model, x, target):
        return None

    result = bridge.compare(
        model, x, labels, methods=["saliency", "input_x_gradient"], functions={"saliency": [broken, nothing]}, repeats=1,
        progress=False,
    )  # fmt: skip
    verdicts = {(r.method, r.implementation): r.verdict for r in result.agreement.itertuples()}
    assert verdicts == {
        ("saliency", "captum"): "equal", ("saliency", "broken"): "failed", ("saliency", "nothing"): "failed",
        ("input_x_gradient", "captum"): "equal", ("saliency", "fused"): "equal", ("input_x_gradient", "fused"): "equal",
    }  # fmt: skip
    assert "out of luck" in result.failures["message"].tolist()
    assert any("NoneType" in message for message in result.failures["message"])


def test_a_model_that_cannot_be_copied_is_reported_and_its_outputs_are_kept(fashion):
    class Uncopyable(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

        def __deepcopy__(self, memo):
            raise RuntimeError("cannot be copied")

    _, x, labels = fashion
    network = Uncopyable(seeded(Plain, channels=1)).eval()
    result = bridge.compare(bridge.wrap(network), x, labels % 4, methods=["saliency"], repeats=1, progress=False)
    assert result.agreement["verdict"].tolist() == ["failed", "failed"]
    assert ("saliency", "captum", None) in result.outputs
    assert "float64" in " ".join(result.failures["stage"])
