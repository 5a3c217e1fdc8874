"""The fused engine: the references' numbers from fewer passes, in the memory of one chunk."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from bridge.core.method import Fused, accepts
from bridge.core.model import ModelAdapter
from bridge.core.norms import l2_norm, linf_norm
from bridge.core.preflight import check_model
from bridge.core.state import seeded as seeded_state
from bridge.fused import chunk_size, chunks, minimal_epsilon, plan, run_many
from bridge.fused.accelerate import accelerated
from bridge.fused.incremental import Incremental
from bridge.fused.layers import Untraceable
from bridge.fused.minimal import _Attack
from tests.networks import Functional, Plain, Reused, Skip, attentive, images, seeded

FAST = [name for name in bridge.methods() if bridge.registry.get(name).fast]
FAST_ATTACKS = [name for name in FAST if name in bridge.methods("attack")]
CHEAP: dict = {"saliency": {}, "input_x_gradient": {}, "layer_gradcam": {}, "fgsm": {}}
LABELS = torch.tensor([0, 3, 2])


@contextmanager
def passes(model: ModelAdapter) -> Iterator[list[int]]:
    """[forwards, backwards] of images through the user's module, by hooks of our own."""
    count = [0, 0]

    def forward(module: nn.Module, inputs: object, output: Tensor) -> None:
        count[0] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: count.__setitem__(1, count[1] + len(gradient)))

    handle = model.module.register_forward_hook(forward)
    yield count
    handle.remove()


def spent(model: ModelAdapter, methods: dict, **options: object) -> tuple[float, float]:
    """Passes an image of a plan."""
    x = images()
    with passes(model) as count:
        many = run_many(model, x, LABELS, methods, **options)
    assert not many.failures, many.failures
    assert (many.forwards, many.backwards) == tuple(count)
    return count[0] / len(x), count[1] / len(x)


@pytest.mark.parametrize("known", [False, True], ids=["first time", "again"])
@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (CHEAP, (2, 2)),
        ({**CHEAP, "guided_backprop": {}}, (2, 3)),
        ({**CHEAP, "guided_backprop": {}, "guided_gradcam": {}, "deconvolution": {}}, (2, 4)),
        ({"pgd": {"steps": 7}}, (7 + 1, 7)),
        ({**CHEAP, "pgd": {"steps": 7}}, (2 + 7 + 1, 2 + 7)),
        ({"pgd": {"steps": 7, "random_start": False}}, (7 + 1, 7)),
        (
            {**CHEAP, "pgd": {"steps": 7, "random_start": False}, "bim": {"steps": 4}},
            (1 + 6 + 3 + 3, 2 + 6 + 3),
        ),
        ({"fgsm": {"epsilon": [0.1, 0.2, 0.3]}, "fgm_l2": {"epsilon": [0.5, 1]}}, (1 + 5, 1)),
        ({"pgd": {"steps": 3, "epsilon": [0.1, 0.2, 0.3, 0.4]}}, (4 * 3 + 4, 12)),
        ({"pgd": {"steps": 3, "restarts": 2}}, (2 * 3 + 2 + 1, 6)),
        (
            {"integrated_gradients": {"n_steps": 6}},
            (1 + 6 + 1 / 3, 6),
        ),  # the black baseline is one image for all
        ({"smooth_grad": {"n_samples": 5}}, (5, 5)),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_pass_counts_are_exact(methods, expected, known):
    model, needs = bridge.wrap(seeded(Plain)), plan(methods, images()).needs
    if known:
        model.facts(images())
        model.grid_layer(images())
    # Who the model is, where nothing needs the clean images; where its layer is, by one image.
    look = 0 if known or needs else 1
    layer = 1 / 3 if "layer" in needs and not known else 0
    assert spent(model, methods) == pytest.approx((expected[0] + look + layer, expected[1] + layer))


def test_the_plan_counts_what_the_hooks_count():
    model = bridge.wrap(seeded(Plain))
    model.facts(images())
    model.grid_layer(images())
    methods = {
        **CHEAP,
        "guided_gradcam": {},
        "bim": {"epsilon": [0.1, 0.2]},
        "pgd_l2": {"steps": 4},
        "smooth_grad": {},
    }
    assert plan(methods, images()).passes == spent(model, methods)
    alone = [spent(model, {name: params}, predict=False) for name, params in methods.items()]
    looks = 1 + 1 + 2 + 1  # clean, fgsm, bim at two epsilons, pgd_l2
    assert plan(methods, images()).alone == (
        sum(f for f, _ in alone) + looks,
        sum(b for _, b in alone),
    )


def test_explain_says_which_pass_serves_which_method():
    text = plan({**CHEAP, "pgd": {"steps": 9}, "deepfool_l2": {}}, images()).explain()
    assert "1 backward             of the target's logit" in text
    assert "-> saliency, input_x_gradient, layer_gradcam\n" in text
    assert "9 forwards, 9 backwards" in text
    assert "no fast implementation" in text
    assert "one method after another: " in text


@pytest.mark.parametrize("build", [Plain, Reused, Skip])
def test_shared_passes_give_the_references_to_the_bit(build):
    model, x = bridge.wrap(seeded(build)), images()
    methods = [
        *CHEAP,
        "fgm_l2",
        "fast_gradient_value",
        "guided_backprop",
        "deconvolution",
        "guided_gradcam",
        "bim",
        "pgd",
    ]
    many = run_many(model, x, LABELS, {name: {} for name in methods})
    for name in methods:
        assert torch.equal(many[name].output, bridge.run(name, model, x, LABELS).output), name


def test_attributions_explain_the_target_and_attacks_start_from_the_labels():
    model, x, target = bridge.wrap(seeded(Plain)), images(), torch.tensor([1, 1, 1])
    many = run_many(model, x, target, CHEAP, labels=LABELS)
    assert torch.equal(many["saliency"].output, bridge.run("saliency", model, x, target).output)
    assert torch.equal(many["fgsm"].output, bridge.run("fgsm", model, x, LABELS).output)
    assert torch.equal(many.predictions["clean"], model(x).argmax(1))
    assert torch.equal(many.predictions["fgsm"], model(many["fgsm"].output).argmax(1))


def quick(name: str) -> dict:
    """A method's small parameters, for the images here."""
    return bridge.registry.get(name).small("quick", 12)


@pytest.mark.parametrize("name", FAST)
def test_every_fused_function_takes_the_references_parameters(name):
    method = bridge.registry.get(name)
    function = method.fast.function
    assert all(accepts(function, parameter) for parameter in method.defaults)
    named = list(inspect.signature(function).parameters.values())[1:]
    assert {p.name for p in named if p.kind is not p.VAR_KEYWORD} <= set(method.defaults)


@pytest.mark.parametrize("name", FAST_ATTACKS)
def test_several_epsilons_are_what_one_after_another_would_be(name):
    model, x = bridge.wrap(seeded(Plain).double()), images().double()
    params = {**quick(name), "epsilon": [0.03, 0.2, 0.6]}
    batch = bridge.run(name, model, x, LABELS, implementation="fused", **params)
    loop = bridge.run(name, model, x, LABELS, **params)
    assert batch.output.shape == (3, *x.shape)
    torch.testing.assert_close(batch.output, loop.output, rtol=0, atol=1e-12)
    assert batch.details.keys() == loop.details.keys()
    for key in batch.details:
        assert torch.equal(batch.details[key], loop.details[key])


@pytest.mark.parametrize(
    "name", [n for n in FAST_ATTACKS if "restarts" in bridge.registry.get(n).defaults]
)
@pytest.mark.parametrize("targeted", [False, True])
def test_restarts_in_one_batch_find_the_same_worst_case(name, targeted):
    model, x = bridge.wrap(seeded(Plain).double()), images().double()
    params = {"steps": 3, "restarts": 3, "targeted": targeted, "epsilon": 0.3}
    fused = bridge.run(name, model, x, LABELS, implementation="fused", **params)
    torch.testing.assert_close(
        fused.output, bridge.run(name, model, x, LABELS, **params).output, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", FAST_ATTACKS)
def test_fused_attacks_refuse_a_negative_epsilon(name):
    model, sizes = bridge.wrap(seeded(Plain)), [0.1, -0.1]
    with pytest.raises(ValueError, match="epsilon must be a finite number of 0 or more"):
        bridge.run(name, model, images(), LABELS, implementation="fused", epsilon=sizes)
    with pytest.raises(ValueError, match="epsilon must be a finite number of 0 or more"):
        run_many(model, images(), LABELS, {name: {"epsilon": sizes}})


def test_fool_spends_one_forward_a_step_and_stops_image_by_image():
    model, x = bridge.wrap(seeded(Plain)), images()
    labels = model(x).argmax(1)
    reference = bridge.run("fool", model, x, labels, steps=40, step_size=0.02)
    fused = bridge.run("fool", model, x, labels, implementation="fused", steps=40, step_size=0.02)
    assert torch.equal(fused.output, reference.output)
    assert torch.equal(fused.details["iterations"], reference.details["iterations"])
    assert fused.forwards < 0.6 * reference.forwards


@pytest.mark.parametrize("name", [name for name in FAST if name in bridge.methods("attribution")])
@pytest.mark.parametrize("size", [1, 5, 64])
def test_results_do_not_depend_on_the_chunk_size(name, size):
    model, x = bridge.wrap(seeded(Plain).double()), images().double()
    with chunk_size(size):
        fused = bridge.run(name, model, x, LABELS, implementation="fused")
    expected = bridge.run(name, model, x, LABELS).output
    torch.testing.assert_close(
        fused.output, expected, rtol=0, atol=1e-12 * float(expected.abs().max())
    )


def test_chunks_cover_a_list_once_while_they_look_for_the_best_size():
    model, x = bridge.wrap(seeded(Plain)), images()
    for total in (0, 1, 3, 7, 50, 400):
        parts = list(chunks.chunks(model, x, total, f"a test of {total}"))
        assert [i for part in parts for i in range(part.start, part.stop)] == list(range(total))
        with chunk_size(6):
            assert (
                max((p.stop - p.start for p in chunks.chunks(model, x, total, "a test")), default=0)
                <= 6
            )


def test_the_best_chunk_is_the_one_whose_images_took_least(monkeypatch):
    model, x, now = bridge.wrap(seeded(Plain)), images(), [0.0]
    monkeypatch.setattr(chunks, "clock", lambda device: now[0])
    for _ in range(2):
        sizes = []
        for part in chunks.chunks(model, x, 1000, "a test"):
            sizes.append(part.stop - part.start)
            now[0] += {4: 1.0, 8: 0.6, 16: 0.5, 32: 0.7}.get(sizes[-1], 0.5) * sizes[-1]
    assert set(sizes[:-5]) <= {15, 16}
    assert (
        chunks._best(
            chunks._times[model.module][
                "a test", (3, 12, 12), x.dtype, x.device, torch.get_num_threads()
            ]
        )
        == 16
    )


def test_chunks_of_gradients_follow_a_rule_and_no_clock(monkeypatch):
    """As many images as make so many activations, for each thread; the same in every process."""
    threads = 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    small, huge = (3 * 32 * 32, 700_000), (3 * 224 * 224, 32_000_000)
    assert chunks._for_gradients(*small) == 3 * 2**23 // 700_000
    assert chunks._for_gradients(*huge) == chunks.LEAST_IMAGES
    assert chunks._for_gradients(3 * 2048 * 2048, 10**9) == 1
    assert chunks._for_gradients(784, 0) == chunks._for_gradients(784, 1000) == 64
    threads = 16
    assert chunks._for_gradients(*huge) == 2**28 // 32_000_000
    model, x = bridge.wrap(seeded(Plain)), images()
    assert not chunks._times.get(model.module, {}).get("gradient")
    first, again = (
        bridge.run("integrated_gradients", model, x, LABELS, implementation="fused").output
        for _ in range(2)
    )
    assert torch.equal(first, again)


@pytest.mark.parametrize("build", [Plain, Skip, Reused, Functional])
def test_activations_are_counted_however_they_are_made(build):
    model, x = bridge.wrap(seeded(build)), images()
    inside = sum(
        torch.Size(layer.shape[1:]).numel()
        for layer in model.facts(x).layers
        if layer.shape and len(layer.shape) == 4
    )
    assert inside / 3 < model.facts(x).activations < 4 * inside


@pytest.mark.parametrize(
    "side", [12, 13]
)  # 3 * 12 * 12 numbers are whole blocks of the generator, 3 * 13 * 13 are not
def test_smooth_grads_noise_is_the_same_chunk_after_chunk(side):
    x, seen = images(2, (3, side, side)), []
    model = bridge.wrap(seeded(Plain))
    model.habits(x)  # the looks at what the model is
    model.module.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach().clone())
    )
    with chunk_size(3):
        bridge.run("smooth_grad", model, x, LABELS[:2], implementation="fused", n_samples=5)
    noisy = torch.cat(seen)
    with seeded_state(0):
        noise = 0.1 * torch.randn(2, 5, 3, side, side)
    assert torch.equal(noisy, (x[:, None] + noise).flatten(0, 1))


def test_integrated_gradients_reports_completeness():
    model, x = bridge.wrap(seeded(Plain).double()), images().double()
    run = bridge.run("integrated_gradients", model, x, LABELS, implementation="fused", n_steps=400)
    logits = model(torch.cat([x, torch.zeros_like(x)])).gather(1, LABELS.repeat(2)[:, None])[:, 0]
    expected = (run.output.sum((1, 2, 3)) - (logits[:3] - logits[3:])).detach()
    torch.testing.assert_close(run.details["completeness"], expected, rtol=0, atol=1e-12)
    assert float(expected.abs().max()) < 0.01 * float(
        (logits[:3] - logits[3:]).detach().abs().max()
    )


def test_one_method_failing_never_loses_the_others():
    model = bridge.wrap(seeded(Functional))  # no nn.ReLU module at all
    many = run_many(model, images(), LABELS, {**CHEAP, "guided_backprop": {}})
    assert set(many) == set(CHEAP)
    assert [f.method for f in many.failures] == ["guided_backprop"]
    flat = bridge.wrap(
        nn.Sequential(nn.Flatten(), nn.Linear(432, 4)).eval()
    )  # no layer for Grad-CAM
    assert [f.method for f in run_many(flat, images(), LABELS, CHEAP).failures] == ["layer_gradcam"]


def replaced(name: str, monkeypatch, function) -> None:
    """A method's fast implementation is this function, with the same needs."""
    fast = bridge.registry.get(name).fast
    monkeypatch.setattr(
        bridge.registry.get(name), "fast", Fused(function, fast.needs, fast.passes, fast.note)
    )


@pytest.mark.parametrize(
    ("name", "params", "wrong"),
    [
        ("saliency", {}, "expected a map for each of 3 images"),
        ("fgsm", {}, r"expected \(3, 3, 12, 12\)"),
        ("fgsm", {"epsilon": [0.1, 0.2]}, r"expected \(2, 3, 3, 12, 12\)"),
    ],
)
def test_many_methods_refuse_the_outputs_that_one_refuses(monkeypatch, name, params, wrong):
    model, x = bridge.wrap(seeded(Plain)), images()
    replaced(name, monkeypatch, lambda shared, **_: shared.x[:2])
    with pytest.raises(ValueError, match=wrong) as refused:
        bridge.run(name, model, x, LABELS, implementation="fused", **params)
    many = run_many(model, x, LABELS, {name: params, "guided_backprop": {}})
    assert set(many) == {"guided_backprop"}
    (failure,) = many.failures
    assert (failure.error, failure.message) == ("ValueError", str(refused.value))


def test_several_epsilons_without_a_fast_implementation_keep_their_details(monkeypatch):
    model, x = bridge.wrap(seeded(Plain)), images()
    params = {"epsilon": [0.05, 0.4], "steps": 4}
    expected = bridge.run("fool", model, x, LABELS, **params)
    monkeypatch.setattr(bridge.registry.get("fool"), "fast", None)
    many = run_many(model, x, LABELS, {"fool": params, "saliency": {}})
    assert many["fool"].implementation == "reference"
    assert torch.equal(many["fool"].output, expected.output)
    assert many["fool"].details["iterations"].shape == (2, len(x))
    assert torch.equal(many["fool"].details["iterations"], expected.details["iterations"])
    assert (many["fool"].forwards, many["fool"].backwards) == (
        expected.forwards,
        expected.backwards,
    )
    assert many.predictions["fool"].shape == (2, len(x))


@pytest.mark.parametrize(
    "params", [{"steps": 0}, {"epsilon": []}, {"epsilon": float("nan")}, {"restarts": 2.5}], ids=str
)
def test_parameters_that_make_no_sense_are_refused_before_anything_is_computed(params):
    model, x = bridge.wrap(seeded(Plain)), images()
    with passes(model) as count:
        with pytest.raises((ValueError, TypeError)) as one:
            bridge.run("pgd", model, x, LABELS, **params)
        looked = list(count)
        with pytest.raises(type(one.value)) as many:
            run_many(model, x, LABELS, {**CHEAP, "pgd": params})
        assert count == looked
    assert str(many.value) == str(one.value)


@pytest.mark.parametrize("how", ["bf16", pytest.param("compile", marks=pytest.mark.slow)])
def test_an_accelerated_model_leaves_the_users_module_in_its_mode(how):
    module = seeded(Plain).train()
    module[1].eval()
    before = [m.training for m in module.modules()]
    fast = accelerated(bridge.wrap(module), how, images())
    assert [m.training for m in module.modules()] == before
    with pytest.warns(bridge.BridgeWarning, match="training mode"):
        check_model(fast)
    evaluated = accelerated(bridge.wrap(seeded(Plain)), how, images())
    assert not any(m.training for m in evaluated.modules())
    check_model(evaluated)


@pytest.mark.filterwarnings("ignore::bridge.core.types.BridgeWarning")
def test_relus_of_another_kind_keep_their_own_forward():
    class Own(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=0)

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Own(), nn.Flatten(), nn.Linear(400, 4)).eval()
    model, x = bridge.wrap(module), images()
    many = run_many(model, x, LABELS, {"saliency": {}, "guided_backprop": {}, "deconvolution": {}})
    for name in many:
        assert torch.equal(many[name].output, bridge.run(name, model, x, LABELS).output), name


def test_a_layer_overwritten_in_place_is_explained_as_it_was():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x).sub_(0.2).relu_().mean((2, 3)))

    for first in (True, False):
        model = bridge.wrap(seeded(InPlace))
        if not first:
            model.facts(images())
        many = run_many(model, images(), LABELS, {"layer_gradcam": {}})
        assert torch.equal(
            many["layer_gradcam"].output,
            bridge.run("layer_gradcam", model, images(), LABELS).output,
        )


def test_run_many_leaves_no_trace_and_checks_its_input():
    model, x = bridge.wrap(seeded(Plain)), images()
    next(model.parameters()).grad = torch.ones(6, 3, 3, 3)
    before, state = x.clone(), torch.get_rng_state()
    names = [n for n in bridge.methods() if not attentive(bridge.registry.get(n))]
    many = run_many(model, x, LABELS, {name: quick(name) for name in names})
    assert set(many) == set(names)
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(next(model.parameters()).grad, torch.ones(6, 3, 3, 3))
    assert all(not m._forward_hooks for m in model.modules())
    with pytest.raises(ValueError, match="but the model has 4 classes"):
        run_many(model, x, [0, 1, 4], CHEAP)
    with pytest.raises(ValueError, match="NaN"):
        run_many(model, x * float("nan"), LABELS, CHEAP)
    with pytest.raises(KeyError, match="no method 'salience'"):
        run_many(model, x, LABELS, {"salience": {}})
    with pytest.raises(TypeError, match="has no parameter"):
        run_many(model, x, LABELS, {"pgd": {"epsilons": 1}})


class Mixed(nn.Module):
    """All that the incremental engine follows: branches, joins, borders, dilation, in-place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.left = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.right = nn.Sequential(
            nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, (1, 3), padding=(0, 1))
        )
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.smooth = nn.AvgPool2d(3, 1, 1)
        self.last = nn.Conv2d(16, 8, 2, stride=(2, 1))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        joined = self.left(x)
        joined += x
        x = torch.cat([F.relu(joined, inplace=True), 0.5 * self.right(x)], dim=1)
        x = self.last(self.smooth(self.pool(x))).relu_()
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def checked_occlusion(model: ModelAdapter, x: Tensor, labels: Tensor, **params: object) -> dict:
    """Equal to the reference in float64; how it was computed."""
    expected = bridge.run("occlusion", model, x, labels, **params).output
    fused = bridge.run("occlusion", model, x, labels, implementation="fused", **params)
    torch.testing.assert_close(
        fused.output, expected, rtol=0, atol=1e-11 * float(expected.abs().max())
    )
    return dict(fused.details)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"window": 3, "stride": 1},
        {"window": (5, 2), "stride": (4, 1), "baseline": 0.3},
        {"window": 7, "stride": 5},
        {"window": 1, "stride": 1, "baseline": images(1, (3, 1, 1))},
        {"window": (30, 37), "stride": 9},
    ],
    ids=str,
)
def test_incremental_occlusion_is_the_reference_on_branches_joins_and_borders(params):
    module = seeded(Mixed).double()
    for buffer in module.buffers():  # batch norm that does something
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    model = bridge.wrap(module, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    x = images(2, (3, 30, 37)).double()
    params = {k: v.double() if isinstance(v, Tensor) else v for k, v in params.items()}
    assert checked_occlusion(model, x, LABELS[:2], **params)["engine"] != "whole images"


def vgg11_without_its_head(num_classes: int) -> nn.Module:
    """The convolutions of vgg11_bn, without the hundred million weights after them."""
    vgg = torchvision.models.vgg
    features = vgg.make_layers(vgg.cfgs["A"], batch_norm=True)
    return nn.Sequential(
        features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes)
    )


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        vgg11_without_its_head,
        pytest.param("vgg11_bn", marks=pytest.mark.slow),
        pytest.param("vgg16", marks=pytest.mark.slow),
        "squeezenet1_1",
        "densenet121",
    ],
)
def test_incremental_occlusion_is_the_reference_on_torchvision_networks(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if callable(name):
            network = name(num_classes=10).train()
        else:
            network = torchvision.models.get_model(name, weights=None, num_classes=10).train()
        with torch.no_grad():
            network(torch.randn(4, 3, 64, 64))  # batch norm's statistics
    details = checked_occlusion(
        bridge.wrap(network.eval().double()),
        images(1, (3, 64, 64)).double(),
        torch.tensor([3]),
        window=16,
        stride=24 - 8,
    )
    assert details["engine"] in ("incremental", "whole images, batch norm folded, channels last"), (
        details
    )


def test_incremental_occlusion_is_the_reference_on_a_trained_resnet20(resnet20):
    model, x, labels = resnet20
    details = checked_occlusion(
        model.astype(torch.float64), x[:2].double(), labels[:2], window=4, stride=4
    )
    assert details["engine"] == "incremental"
    assert 0.3 < details["multiply_adds"] < 0.75


@pytest.mark.parametrize("pay", [True, False])
def test_of_several_images_the_quicker_way_is_taken_and_kept(pay, monkeypatch, resnet20):
    """Patches or whole images, as the clock says it once; a stated chunk size asks no clock."""
    ticks = iter([0.0, 1.0, 2.0, 4.0] if pay else [0.0, 2.0, 4.0, 5.0])
    monkeypatch.setattr("bridge.fused.occlusion.clock", lambda device: next(ticks))
    model, x, labels = resnet20
    model, x = model.astype(torch.float64), x[:6].double()
    given = {"window": 8, "stride": 8}
    engines = []
    for _ in range(2):  # the second asks no more
        engines.append(checked_occlusion(model, x, labels[:6], **given)["engine"])
    whole = "whole images, batch norm folded, channels last"
    assert engines == ["incremental" if pay else whole] * 2
    with chunk_size(16):
        assert checked_occlusion(model, x, labels[:6], **given)["engine"] == "incremental"


def test_windows_that_change_nothing_are_skipped():
    x = images()
    x[:, :, :6] = 0.25
    details = checked_occlusion(
        bridge.wrap(seeded(Plain).double()), x.double(), LABELS, window=3, stride=3, baseline=0.25
    )
    assert details["skipped"] == 3 * 2 * 4
    x[:] = 0.25
    flat = bridge.run(
        "occlusion", bridge.wrap(seeded(Plain)), x, LABELS, implementation="fused", baseline=0.25
    )
    assert not flat.output.any()
    assert flat.details["skipped"] == flat.details["windows"]


class Branching(nn.Module):
    """What it computes depends on its data: torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > 0 else -self.inner(x)


def test_what_cannot_be_traced_runs_whole():
    details = checked_occlusion(bridge.wrap(seeded(Branching).double()), images().double(), LABELS)
    assert details["engine"] == "whole images"
    assert "torch.fx cannot trace it" in details["reason"]


def test_a_network_with_hooks_inside_runs_whole_and_with_its_hooks():
    module = seeded(Plain).double()
    module[0].register_forward_hook(lambda m, inputs, output: 2 * output)
    details = checked_occlusion(bridge.wrap(module), images().double(), LABELS)
    assert "hooks" in details["reason"]
    with pytest.raises(Untraceable):
        Incremental(module)


def test_a_batch_norm_after_a_border_that_is_not_zeros_is_not_folded_away():
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    ).eval()
    module[1].running_var.fill_(0.3)
    details = checked_occlusion(bridge.wrap(module.double()), images().double(), LABELS)
    assert "reason" not in details


def test_a_trace_that_is_not_the_network_is_not_trusted(monkeypatch):
    right = Incremental.dense
    monkeypatch.setattr(Incremental, "dense", lambda self, images: right(self, images) * 1.001)
    details = checked_occlusion(bridge.wrap(seeded(Plain).double()), images().double(), LABELS)
    assert details["engine"] == "whole images"
    assert "off the network's own" in details["reason"]


def test_occlusion_leaves_the_users_weights_and_memory_format():
    module = seeded(Mixed)
    weights = {name: p.detach().clone() for name, p in module.named_parameters()}
    bridge.run(
        "occlusion", bridge.wrap(module), images(1, (3, 30, 37)), LABELS[:1], implementation="fused"
    )
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.is_contiguous()


@pytest.mark.parametrize(
    ("norm", "measure", "largest"), [("linf", linf_norm, 0.5), ("l2", l2_norm, 5.0)]
)
def test_the_smallest_epsilon_fools_and_what_was_tried_just_below_did_not(
    fashion, monkeypatch, norm, measure, largest
):
    model, x, labels = fashion
    labels = labels.clone()
    labels[0] = (labels[0] + 1) % 10  # a clean image that is wrong already
    tried: dict[int, list[tuple[float, bool]]] = {}

    run = _Attack.run

    def spy(attack, active, size):
        images, fooled = run(attack, active, size)
        for index, tries in zip(active.tolist(), zip(size, fooled, strict=True), strict=True):
            tried.setdefault(index, []).append((float(tries[0]), bool(tries[1])))
        return images, fooled

    monkeypatch.setattr(_Attack, "run", spy)
    found = minimal_epsilon(model, x, labels, norm=norm, steps=10)
    assert found.epsilon[0] == 0
    assert torch.equal(found.images[0], x[0])
    assert bool((model(found.images).argmax(1) != labels).all())
    assert bool((measure(found.images - x) <= found.epsilon * (1 + 1e-5)).all())
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    for index in range(1, len(x)):
        assert min(size for size, success in tried[index] if success) == float(found.epsilon[index])
        below = max([size for size, success in tried[index] if not success], default=0.0)
        assert float(found.epsilon[index]) - largest / 256 <= below < float(found.epsilon[index])


def test_who_is_fooled_leaves_the_batch_and_who_withstands_is_infinite(fashion):
    model, x, labels = fashion
    found = minimal_epsilon(model, x, labels, steps=40)
    tries = 1 + 8  # the largest, and eight halvings to a 256th
    assert found.backwards < 0.6 * tries * 40 * len(x)
    withstood = minimal_epsilon(model, x, labels, largest=1e-6, steps=2)
    assert bool(withstood.epsilon.isinf().all())
    assert torch.equal(withstood.images, x)
    assert withstood.backwards == 2 * len(x)
    with pytest.raises(ValueError, match="largest must be positive, got -1"):
        minimal_epsilon(model, x, labels, largest=-1)
    with pytest.raises(ValueError, match="unknown norm 'l1': expected one of linf, l2"):
        minimal_epsilon(model, x, labels, norm="l1")
