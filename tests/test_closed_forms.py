"""What the answer must be, where it can be written down: linear models, and axioms."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import bridge
from bridge.core.gradients import target_logits
from tests.networks import Linear, Plain, Quadratic, images, seeded

LABELS = torch.tensor([0, 1, 2, 1])
# Sums of 40 float64 products: rounding is a few 1e-16.
EXACT = {"rtol": 0, "atol": 1e-14}


@pytest.fixture
def linear():
    return bridge.wrap(seeded(Linear).double())


@pytest.fixture
def x():
    return images(4, (2, 4, 5)).double()


def output(name, /, model, x, labels=LABELS, **params):
    return bridge.run(name, model, x, labels, **params).output


def test_attributions_of_a_linear_model_are_its_weights_times_the_image(linear, x):
    w = linear.module.weights_of(LABELS)
    assert torch.allclose(output("saliency", linear, x), w.abs(), **EXACT)
    assert torch.allclose(output("input_x_gradient", linear, x), w * x, **EXACT)
    assert torch.allclose(output("smooth_grad", linear, x), w, **EXACT)
    one_pixel = output("occlusion", linear, x, window=1, stride=1)
    assert torch.allclose(one_pixel, (w * x).sum(1, keepdim=True).expand_as(x), **EXACT)


@pytest.mark.parametrize(
    "method",
    ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"],
)
def test_integrated_gradients_of_a_linear_model_are_exact_with_every_rule(linear, x, method):
    w = linear.module.weights_of(LABELS)
    found = output("integrated_gradients", linear, x, method=method, n_steps=7, baseline=0.25)
    assert torch.allclose(found, w * (x - 0.25), **EXACT)


def test_integrated_gradients_are_complete(x):
    # A smooth network, where 50 Gauss-Legendre points are exact to rounding.
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(40, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).double()
    model = bridge.wrap(network.eval(), mean=0.5, std=0.5)
    found = output("integrated_gradients", model, x, baseline=0.1).sum((1, 2, 3))
    expected = target_logits(model(x), LABELS) - target_logits(
        model(torch.full_like(x, 0.1)), LABELS
    )
    assert torch.allclose(found, expected.detach(), rtol=0, atol=1e-10)


def test_an_occluded_pixel_is_the_mean_over_the_windows_that_cover_it(linear, x):
    # Windows of 3 with stride 2 on sides 4 and 5: rows 0-2 and 2-3 (clipped), columns 0-2 and 2-4.
    w = (linear.module.weights_of(LABELS) * (x - 0.5)).sum(1)
    rows, columns = [slice(0, 3), slice(2, 4)], [slice(0, 3), slice(2, 5)]
    expected = torch.zeros(4, 4, 5, dtype=torch.float64)
    count = torch.zeros(4, 5, dtype=torch.float64)
    for r in rows:
        for c in columns:
            expected[:, r, c] += w[:, r, c].sum((1, 2))[:, None, None]
            count[r, c] += 1
    found = output("occlusion", linear, x, window=3, stride=2, baseline=0.5)
    assert torch.allclose(found, (expected / count)[:, None].expand_as(x), **EXACT)


def test_gradcam_of_a_network_that_averages_its_layer_is_the_class_activation_map():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(5, 4),
    ).double()
    model, x = bridge.wrap(network.eval()), images().double()
    target = torch.tensor([0, 1, 3])
    features = network[0](x).detach()
    expected = (network[3].weight.detach()[target][:, :, None, None] * features).sum(
        1, keepdim=True
    ) / 144
    assert model.cam_layer_name(x) == "0"
    assert torch.allclose(output("layer_gradcam", model, x, target), expected, **EXACT)
    upsampled = F.interpolate(expected.relu(), (12, 12), mode="bilinear", align_corners=False)
    assert torch.allclose(
        output("layer_gradcam", model, x, target, relu=True, upsample=True), upsampled, **EXACT
    )


def test_guided_backprop_and_deconvolution_by_hand_on_two_layers():
    first, second = torch.nn.Linear(12, 6).double(), torch.nn.Linear(6, 3).double()
    network = torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.ReLU(), second).eval()
    x, target = images(3, (3, 2, 2)).double(), torch.tensor([0, 1, 2])
    h, g = first(x.flatten(1)).detach(), second.weight.detach()[target]
    for method, keep in (("guided_backprop", (h > 0) & (g > 0)), ("deconvolution", g > 0)):
        expected = ((g * keep) @ first.weight.detach()).view_as(x)
        assert torch.allclose(output(method, bridge.wrap(network), x, target), expected, **EXACT)


def test_occlusion_x_gradient_is_the_mean_of_both_maps_each_scaled_by_its_maximum():
    model, x, target = bridge.wrap(seeded(Plain)), images(), torch.tensor([0, 1, 2])
    covered, local = (
        output("occlusion", model, x, target).abs(),
        output("input_x_gradient", model, x, target).abs(),
    )
    expected = (
        covered / covered.amax((1, 2, 3), keepdim=True)
        + local / local.amax((1, 2, 3), keepdim=True)
    ) / 2
    found = output("occlusion_x_gradient", model, x, target)
    assert torch.equal(found, expected)
    assert float(found.max()) <= 1


def test_fgsm_of_a_linear_model_steps_along_the_sign_of_the_expected_weight(linear, x):
    w = linear.module.linear.weight.detach()
    p = linear(x).softmax(1).detach()
    gradient = (p @ w - w[LABELS]).view_as(x)
    expected = (x + 0.05 * gradient.sign()).clamp(0, 1)
    assert torch.equal(output("fgsm", linear, x, epsilon=0.05), expected)
    assert torch.equal(
        output("bim", linear, x, epsilon=0.05, steps=1, step_size=0.05),
        x + (expected - x).clamp(-0.05, 0.05),
    )
    value = x + 0.05 * gradient / gradient.abs().amax((1, 2, 3), keepdim=True)
    assert torch.allclose(
        output("fast_gradient_value", linear, x, epsilon=0.05), value.clamp(0, 1), **EXACT
    )
    l2 = x + 0.05 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(output("fgm_l2", linear, x, epsilon=0.05), l2.clamp(0, 1), **EXACT)


def test_deepfool_finds_the_smallest_perturbation_of_a_linear_model_within_two_percent(linear, x):
    x = x * 0.1 + 0.45  # far from the bounds, so that clipping plays no part
    w = linear.module.linear.weight.detach()
    logits = linear(x).detach()
    label = logits.argmax(1)
    distance = torch.full((4,), torch.inf, dtype=torch.float64)
    for k in range(3):
        d = (logits[torch.arange(4), label] - logits[:, k]) / (w[label] - w[k]).norm(dim=1)
        distance = torch.where(label == k, distance, torch.minimum(distance, d))
    found = output("deepfool_l2", linear, x, label, overshoot=0.01)
    size = (found - x).flatten(1).norm(dim=1)
    assert bool((linear(found).argmax(1) != label).all())
    # Overshoot 1 %, and 1e-4 further at each step, as in the authors' code.
    assert bool((size >= distance * 0.999999).all())
    assert bool((size <= distance * 1.02 + 1e-4).all())


def test_the_worst_of_several_restarts_fools_at_least_as_many_images_as_one(fashion):
    model, x, labels = fashion
    options = {"epsilon": 3 / 255, "steps": 3}
    many = bridge.run("pgd", model, x, labels, restarts=4, **options)
    again = bridge.run("pgd", model, x, labels, restarts=4, **options)
    assert torch.equal(many.output, again.output)
    loss = F.cross_entropy(model(many.output), labels, reduction="none")
    fooled = model(many.output).argmax(1) != labels
    start = bridge.registry.get("pgd").draw
    for seed in range(2):
        one = bridge.run("pgd", model, x, labels, seed=seed, **options).output
        if seed == 0:  # the first of the four restarts is the only one of a single run
            assert bool((fooled >= (model(one).argmax(1) != labels)).all())
            single = F.cross_entropy(model(one), labels, reduction="none")
            # A fooling image beats one of larger loss that does not; among equals the loss decides.
            assert bool(((loss >= single - 1e-6) | fooled).all())
    with bridge.state.seeded(0):
        starts = start(x, epsilon=3 / 255, random_start=True, start=None, restarts=4)["start"]
    assert starts.shape == (4, *x.shape)
    assert torch.equal(
        bridge.run("pgd", model, x, labels, start=starts, restarts=4, **options).output, many.output
    )


def test_fool_stops_at_the_first_iterate_that_is_misclassified(fashion):
    model, x, labels = fashion
    run = bridge.run("fool", model, x, labels, step_size=2 / 255, steps=60)
    iterations = run.details["iterations"]
    assert bool((iterations > 0).all())
    for index, count in enumerate(iterations.tolist()):
        image, label = x[index : index + 1], labels[index : index + 1]
        for step in range(count):
            image = bridge.run("fgsm", model, image, label, epsilon=2 / 255).output
            predicted = int(model(image).argmax(1))
            assert (predicted == int(label)) == (step < count - 1)
        assert torch.equal(image[0], run.output[index])


def test_fool_reports_zero_where_nothing_is_to_do_and_minus_one_where_steps_do_not_suffice(fashion):
    model, x, labels = fashion
    wrong = (labels + 1) % 10
    assert bridge.run("fool", model, x, wrong).details["iterations"].tolist() == [0, 0, 0, 0]
    assert torch.equal(bridge.run("fool", model, x, wrong).output, x)
    assert (
        bridge.run("fool", model, x, labels, steps=1, step_size=1e-6).details["iterations"].tolist()
        == [-1] * 4
    )
    reached = bridge.run("fool", model, x, wrong, targeted=True, steps=200)
    done = reached.details["iterations"] >= 0
    assert bool(done.any())
    assert torch.equal(model(reached.output).argmax(1)[done], wrong[done])
    near = bridge.run("fool", model, x, labels, epsilon=1 / 255, steps=20).output
    assert float((near - x).abs().max()) <= 1 / 255 + 1e-7


@pytest.mark.parametrize(
    "method", [m for m in bridge.methods("attack") if not bridge.registry.get(m).minimal]
)
def test_several_epsilons_in_one_call_are_each_epsilon_alone(fashion, method):
    model, x, labels = fashion
    sizes, quick = [0.0, 2 / 255, 0.1], bridge.registry.get(method).small("quick", 28)
    together = bridge.run(method, model, x, labels, epsilon=sizes, **quick)
    assert together.output.shape == (3, *x.shape)
    for size, images_ in zip(sizes, together.output, strict=True):
        alone = bridge.run(method, model, x, labels, epsilon=size, **quick)
        assert torch.equal(images_, alone.output)
    assert torch.equal(together.output[0], x)


@pytest.mark.parametrize(
    "method",
    [
        name
        for name in bridge.methods("attack")
        if bridge.registry.get(name).targetable
        and "ascent" in bridge.registry.get(name).tags.axioms
    ],
)
def test_targeted_attacks_lower_the_loss_of_the_class_to_reach(fashion, method):
    model, x, labels = fashion
    goal = (labels + 3) % 10
    with torch.no_grad():
        before = F.cross_entropy(model(x), goal)
        after = F.cross_entropy(
            model(bridge.run(method, model, x, goal, epsilon=4 / 255, targeted=True).output), goal
        )
    assert float(after) < float(before)


def test_expected_gradients_of_a_linear_model_are_its_weights_times_the_mean_way(linear, x):
    w = linear.module.weights_of(LABELS)
    chosen = torch.tensor([[0, 1, 1], [2, 2, 2], [0, 1, 2], [1, 1, 0]])
    bank, noise = images(3, (2, 4, 5), seed=1).double(), torch.rand(4, 3, 2, 4, 5).double()
    found = output("expected_gradients", linear, x, n_samples=3, baselines=bank, chosen=chosen)
    assert torch.allclose(found, w * (x - bank[chosen].mean(1)), **EXACT)
    found = output("expected_gradients", linear, x, n_samples=3, noise=noise)
    assert torch.allclose(found, w * (x - noise.mean(1)), **EXACT)
    wider = bridge.wrap(linear.module, bounds=(-1, 3))
    found = output("expected_gradients", wider, x, n_samples=3, noise=noise)
    assert torch.allclose(found, w * (x - (4 * noise - 1).mean(1)), **EXACT)
    found = output("expected_gradients", linear, x, baselines=0.25)
    assert torch.allclose(found, w * (x - 0.25), **EXACT)


def test_expected_gradients_of_a_quadratic_logit_are_complete_at_points_around_the_middle():
    # The gradient is linear on the way, so that its mean at a and 1 - a is that in the middle.
    model = bridge.wrap(Quadratic([1.0, -2.0, 3.0], [4.0, 5.0, -6.0]).eval())
    x, bank = images(2, (3, 1, 1)).double(), torch.full((1, 3, 1, 1), 0.2).double()
    alphas, target = torch.tensor([[0.25, 0.75], [0.875, 0.125]]).double(), torch.tensor([1, 1])
    found = output(
        "expected_gradients", model, x, target, n_samples=2, baselines=bank, alphas=alphas
    )
    expected = model(x)[:, 1] - model(bank)[:, 1]
    assert torch.allclose(found.sum((1, 2, 3)), expected, **EXACT)


def test_mi_fgsm_adds_gradients_over_their_l1_norm():
    # The gradient is 10 (0.2, 0.5, 0.3) at the start and (-0.6, 0.3, -0.1) after a step of 0.1 up,
    # each times a number from the cross-entropy. Over their L1 norms they sum to (-0.4, 0.8, 0.2).
    model = bridge.wrap(Quadratic([2.0, 5.0, 3.0], [-26.0, -47.0, -31.0]).eval())
    x, label = torch.full((1, 3, 1, 1), 0.5).double(), torch.tensor([0])
    options = {"epsilon": 0.5, "step_size": 0.1, "steps": 2}
    for momentum, expected in ((1.0, [0.5, 0.7, 0.7]), (0.0, [0.5, 0.7, 0.5])):
        found = output("mi_fgsm", model, x, label, momentum=momentum, **options)
        assert torch.allclose(found.flatten(), torch.tensor(expected).double(), rtol=0, atol=1e-7)


def test_mi_fgsm_without_momentum_is_bim_and_by_default_just_reaches_the_edge(fashion):
    model, x, labels = fashion
    options = {"epsilon": 0.1, "step_size": 0.02, "steps": 7}
    plain = output("bim", model, x, labels, **options)
    assert torch.equal(output("mi_fgsm", model, x, labels, momentum=0.0, **options), plain)
    far = output("mi_fgsm", model, x * 0 + 0.5, labels, epsilon=0.1, steps=4) - 0.5
    assert float(far.abs().max()) == pytest.approx(0.1, abs=1e-6)
