"""Every reference agrees with its twins, in float64 and float32, on real and random networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import bridge
from bridge.core.method import Method
from bridge.core.model import ModelAdapter
from bridge.core.preflight import without_attention
from tests.networks import Plain, Reused, Skip, fitting, images, seeded

METHODS = [bridge.registry.get(name) for name in bridge.methods()]
# Twins that are known to differ, on any network or on some; who is right is shown in
# test_known_disagreements.py.
EVERYWHERE = {(m.name, t.library) for m in METHODS for t in m.twins.values() if t.everywhere}
SOMEWHERE = {(m.name, t.library) for m in METHODS for t in m.twins.values() if t.differs}


def check(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    params: dict | None = None,
    *,
    size: str = "quick",
    known: set[tuple[str, str]] = EVERYWHERE,
) -> None:
    """Compare everything with everything; only the known disagreements may differ."""
    there = [m for m in METHODS if not without_attention(m, model, x)]
    small = {m.name: m.small(size, min(x.shape[2:])) for m in there}
    result = bridge.compare(
        model,
        x,
        labels,
        params=small | (params or {}),
        epsilons={"linf": [4 / 255], "l2": [0.5]},
        repeats=1,
        timing_seconds=0.0,  # the first call is time enough here
        progress=False,
    )
    rows = {(r.method, r.implementation): r for r in result.agreement.itertuples()}
    twins = {(m.name, by) for m in there for by in m.implementations() if by != "reference"}
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
    covered = {"window": 8, "stride": 5, "baseline": 0.4}
    check(model, x[:3], labels[:3], {"occlusion": covered}, size="quickest")


def test_on_a_trained_squeezenet_with_photographs(squeezenet):
    model, x, labels = squeezenet
    half = x[..., ::2, ::2].contiguous()
    check(model, half, labels, {"occlusion": {"window": 50, "stride": 35}}, size="quickest")


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v3_small"])
def test_on_torchvision_networks_with_random_weights(name):
    side = 32
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None, num_classes=10)
        network.train()
        # Batch norm's statistics, without which activations die out.
        with torch.no_grad():
            network(torch.randn(8, 3, side, side))
    if name == "vgg11_bn":
        network.classifier = nn.Linear(25088, 10)  # 120 million weights fewer
    # Foolbox would compute the gradients of all weights.
    network.eval().requires_grad_(False)
    model = bridge.wrap(network, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    check(model, images(2, (3, side, side)), torch.tensor([3, 7]), size="quickest")


@pytest.mark.parametrize("build", [Plain, Reused])
def test_on_networks_with_in_place_and_reused_relus(build):
    check(bridge.wrap(seeded(build)), images(), torch.tensor([0, 3, 3]))


def test_only_what_is_known_differs_on_a_network_with_skips():
    check(bridge.wrap(seeded(Skip)), images(), torch.tensor([0, 1, 2]), known=SOMEWHERE)


def away(method: Method) -> Iterator[dict[str, Any]]:
    """Every parameter that states its domain away from its default, the others small."""
    for name, domain in method.domains.items():
        for value in (*domain.choices, *domain.others):
            params = {**method.small("quick", 12), name: value}
            try:
                method.check(images(), method.bind(params))
            except ValueError:  # it needs another one beside it
                continue
            if value != method.defaults[name]:
                yield params


def agreed(method: str, params: dict[str, Any]) -> bridge.Comparison:
    """Compare a method on a small network; everyone must agree."""
    # A budget beyond the range of pixel values is refused.
    bounds = (-2, 2) if params.get("epsilon", 0) > 1 else (0, 1)
    result = bridge.compare(
        fitting(bridge.registry.get(method), mean=0.5, std=0.25, bounds=bounds),
        images(),
        torch.tensor([0, 3, 3]),
        methods=[method],
        params={method: params},
        repeats=1,
        timing_seconds=0.0,
        progress=False,
    )
    found = result.agreement
    if found.empty:  # nobody takes these parameters but the reference
        return result
    pairs = zip(found["method"], found["implementation"], strict=True)
    rows = found[[pair not in EVERYWHERE for pair in pairs]]
    assert set(rows["verdict"]) <= {"equal", "rounding"}, rows.to_string()
    assert set(rows["verdict_float32"]) <= {"equal", "rounding"}, rows.to_string()
    return result


@pytest.mark.parametrize(
    "method, params", [(m.name, p) for m in METHODS for p in away(m)], ids=lambda value: str(value)
)
def test_with_every_parameter_away_from_its_default(method, params):
    failures = agreed(method, params).failures
    assert set(failures["stage"]) <= {"unsupported"}, failures.to_string()


# Parameters that depend on one another.
VARIANTS = [
    ("integrated_gradients", {"n_steps": 6, "baseline": 0.3}),
    ("layer_gradcam", {"upsample": True, "relu": True}),
    ("occlusion", {"window": 4, "stride": 3, "baseline": 0.5}),
    ("occlusion", {"window": (4, 2), "stride": (1, 2)}),
    ("occlusion", {"window": 12, "stride": 12}),
    ("smooth_grad", {"n_samples": 3, "stdev": 0.5}),
    ("bim", {"steps": 7, "step_size": 0.01}),
    ("pgd", {"steps": 3, "step_size": 0.02, "random_start": False}),
    ("pgd", {"steps": 3, "targeted": True}),
    ("pgd_l2", {"steps": 3, "step_size": 0.2, "random_start": False}),
    ("pgd_l2", {"steps": 3, "targeted": True}),
    ("deepfool_l2", {"overshoot": 0.1, "candidates": 2}),
    ("deepfool_l2", {"candidates": None, "epsilon": 0.2}),
]


@pytest.mark.parametrize("method, params", VARIANTS, ids=lambda value: str(value))
def test_with_several_parameters_away_from_their_defaults(method, params):
    result = agreed(method, params)
    assert result.failures.empty, result.failures.to_string()
    assert len(result.agreement) > 0


def test_with_a_tensor_as_baseline():
    for method in METHODS:
        if "baseline" in method.defaults:
            assert agreed(method.name, {"baseline": images(1, seed=5)}).failures.empty


def test_captums_trapezoid_is_named_as_unsupported_not_as_a_disagreement():
    model = bridge.wrap(seeded(Plain))
    result = bridge.compare(
        model,
        images(),
        torch.tensor([0, 1, 2]),
        methods=["integrated_gradients"],
        implementations=["reference", "captum"],
        params={"integrated_gradients": {"method": "riemann_trapezoid"}},
        repeats=1,
        progress=False,
    )
    assert result.agreement.empty
    assert list(result.failures["stage"]) == ["unsupported"]
    assert "(n - 1) / n" in result.failures["message"].iloc[0]
    assert result.verdicts().loc["integrated_gradients", "captum"] == "unsupported"


def test_random_starts_are_compared_from_the_same_tensor(fashion):
    model, x, labels = fashion
    drawn = []

    def own_start(model, x, labels, *, epsilon, start=None, **params):
        drawn.append(start)
        return bridge.registry.get("pgd")(
            model, x, labels, epsilon=epsilon, start=start, **{**params, "random_start": False}
        )

    result = bridge.compare(
        model,
        x,
        labels,
        methods=["pgd"],
        implementations=["reference"],
        functions={"pgd": own_start},
        params={"pgd": {"steps": 3}},
        epsilons=[4 / 255],
        repeats=1,
        progress=False,
    )
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
        model,
        x,
        labels,
        methods=["saliency", "input_x_gradient"],
        functions={"saliency": [broken, nothing]},
        repeats=1,
        progress=False,
    )
    verdicts = {(r.method, r.implementation): r.verdict for r in result.agreement.itertuples()}
    assert verdicts == {
        ("saliency", "captum"): "equal",
        ("saliency", "broken"): "failed",
        ("saliency", "nothing"): "failed",
        ("input_x_gradient", "captum"): "equal",
        ("saliency", "fused"): "equal",
        ("input_x_gradient", "fused"): "equal",
    }
    assert any(
        message.startswith("RuntimeError: out of luck (test_agreement")
        for message in result.failures["message"]
    )
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
    result = bridge.compare(
        bridge.wrap(network), x, labels % 4, methods=["saliency"], repeats=1, progress=False
    )
    assert result.agreement["verdict"].tolist() == ["failed", "failed"]
    assert ("saliency", "captum", None) in result.outputs
    assert "float64" in " ".join(result.failures["stage"])
