"""Agreement, similarity and the audit of attacks, against libraries and cases made by hand."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

import bridge
from bridge.metrics import agreement, similarity
from bridge.metrics.attack import audit, classify
from tests.networks import Linear, images, seeded


def judge(output64, reference64, noise=1e-7, output32=None, **options):
    output32 = output64.float() if output32 is None else output32
    return agreement.judge(
        output32, output64, reference64.float(), reference64, noise=noise, **options
    )


def test_verdicts_follow_the_float64_gap():
    reference = images(2).double() - 0.5
    largest = reference.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
    for gap, noise, expected in [
        (0, 1e-7, "equal"),
        (9e-10, 1e-7, "equal"),
        (2e-9, 1e-7, "rounding"),
        (7e-7, 1e-7, "rounding"),
        (2e-6, 1e-7, "differs"),
        (7e-6, 1e-6, "rounding"),
        # However large the noise in float32, it excuses nothing in float64.
        (1e-5, 1e-2, "differs"),
    ]:
        found = judge(reference + gap * largest, reference, noise)
        assert found.verdict == expected, (gap, noise, found)
        assert found.gap == pytest.approx(gap, abs=1e-15)
    assert (
        judge(reference, reference, output32=reference.float() * (1 + 1e-4)).verdict_float32
        == "differs"
    )


def test_gaps_are_relative_to_each_image_and_count_images():
    reference = torch.stack(
        [torch.ones(1, 4, 4), torch.full((1, 4, 4), 100.0), torch.zeros(1, 4, 4)]
    ).double()
    output = reference.clone()
    output[0, 0, 0, 0] += 0.5
    output[1, 0, 0, 0] += 0.5
    found = judge(output, reference)
    assert (found.verdict, found.images) == ("differs", 2)
    assert agreement.gaps(output, reference, agreement.image_scale(reference)).tolist() == [
        0.5,
        0.005,
        0,
    ]


@pytest.mark.parametrize("spoil", [torch.nan, torch.inf])
def test_values_that_are_not_finite_differ_and_are_named(spoil):
    reference = images(2).double()
    output = reference.clone()
    output[1, 0, 0, 0] = spoil
    found = judge(output, reference)
    assert found.verdict == "differs"
    assert found.gap == torch.inf
    assert "1 of 2 images have values that are not finite" in found.cause


def test_another_shape_differs_and_is_named():
    found = judge(images(2, (1, 4, 4)).double(), images(2, (3, 4, 4)).double())
    assert found.verdict == "differs"
    assert "(2, 1, 4, 4)" in found.cause


def test_spearman_and_ssim_are_scipys_and_scikit_images():
    a, b = (
        images(3, (1, 20, 30))[:, 0],
        images(3, (1, 20, 30), seed=1)[:, 0] + images(3, (1, 20, 30))[:, 0],
    )
    a = (a * 20).round() / 20  # ties
    expected = [spearmanr(p.flatten(), q.flatten()).statistic for p, q in zip(a, b, strict=True)]
    assert similarity.spearman(similarity.ranks(a), similarity.ranks(b)).tolist() == pytest.approx(
        expected, abs=1e-12
    )
    for p, q, found in zip(a, b, similarity.ssim(a, b), strict=True):
        p, q = (m.double().numpy() / float(m.max()) for m in (p, q))
        theirs = structural_similarity(
            p, q, data_range=1, gaussian_weights=True, use_sample_covariance=False
        )
        assert float(found) == pytest.approx(theirs, abs=1e-9)


def test_similarity_of_a_map_with_itself_is_one_and_with_its_opposite_is_not():
    a = images(2, (1, 16, 16))[:, 0]
    for measure in (similarity.top_k_iou, similarity.ssim, similarity.cosine):
        assert measure(a, a).tolist() == pytest.approx([1, 1])
    ranked = similarity.ranks(a)
    assert similarity.spearman(ranked, similarity.ranks(-a)).tolist() == pytest.approx([-1, -1])
    assert similarity.top_k_iou(a, -a).tolist() == [0, 0]
    assert math.isnan(float(similarity.spearman(similarity.ranks(a * 0), ranked)[0]))
    assert similarity.importance(torch.tensor([[[[1.0]], [[-2.0]]]]), (3, 3)).tolist() == [
        [[3.0] * 3] * 3
    ]


@pytest.fixture
def world():
    """A linear model, eight images, their predictions as labels but for the last, and images that
    fool it.
    """
    model = bridge.wrap(seeded(Linear, (1, 4, 4)))
    x = images(8, (1, 4, 4))
    labels = model(x).argmax(1)
    labels[7] = (labels[7] + 1) % 3
    return (
        model,
        x,
        labels,
        bridge.run("pgd", model, x, labels, epsilon=0.5, steps=40, step_size=0.05).output,
    )


def test_success_is_counted_among_the_images_that_were_right(world):
    model, x, labels, adversarial = world
    fooled = model(adversarial).argmax(1) != labels
    score = audit(model, x, labels, adversarial, epsilon=0.5, norm="linf")
    assert (score.correct, score.images, score.invalid) == (7, 8, 0)
    assert score.success == pytest.approx(float(fooled[:7].double().mean()))
    assert score.success > 0
    untouched = audit(model, x, labels, x, epsilon=0.5, norm="linf")
    assert (untouched.success, untouched.changed, untouched.unchanged) == (0, 0, 8)
    assert (untouched.l0, untouched.l2, untouched.linf) == (0, 0, 0)


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda image: image * torch.nan, "not finite"),
        (lambda image: image * 0, "black"),
        (lambda image: image + 1, "out of bounds"),
        (lambda image: 1 - image, "out of the ball"),
    ],
)
def test_black_nan_and_out_of_ball_images_are_reported_and_never_a_success(world, spoil, reason):
    model, x, labels, _ = world
    adversarial = x.clone()
    adversarial[0] = spoil(x[0])
    score = audit(model, x, labels, adversarial, epsilon=0.01, norm="linf")
    assert score.invalid == 1
    assert reason in score.reasons
    assert score.success == 0
    assert score.changed == 0


def test_a_library_that_returns_black_images_is_not_believed(fashion):
    import foolbox

    model, x, labels = fashion

    def carlini_wagner(model, x, labels, *, epsilon=None, **params):
        attack = foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=1, steps=1, initial_const=1e-6
        )
        raw, _, claimed = attack(
            foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, labels, epsilons=None
        )
        carlini_wagner.claimed = claimed
        return raw

    result = bridge.compare(
        model,
        x,
        labels,
        methods=["deepfool_l2"],
        implementations=["reference"],
        functions={"deepfool_l2": carlini_wagner},
        repeats=1,
        progress=False,
    )
    row = result.attacks.set_index("implementation").loc["carlini_wagner"]
    assert bool(carlini_wagner.claimed.float().mean() > 0.5)  # Foolbox: success
    assert row.success == 0
    assert row.invalid == 4
    assert "black" in row.reasons


def test_eight_bit_success_is_that_of_the_rounded_images():
    class Threshold(nn.Module):
        def forward(self, x):
            mean = x.mean((1, 2, 3))
            return torch.stack([mean, torch.full_like(mean, 0.5)], 1)

    model = bridge.wrap(Threshold().eval())
    x = torch.full((2, 1, 2, 2), 0.502)
    # 0.49999 is 127.497 of 255 and rounds to 127, below a half; 0.4999 with the threshold at it
    # would not change.
    adversarial = torch.stack([torch.full((1, 2, 2), 0.49999), torch.full((1, 2, 2), 0.499)])
    adversarial[1, 0, 0] = (
        0.5005  # these two round up to 128 and the other two to 127: the mean is exactly a half
    )
    score = audit(model, x, torch.tensor([0, 0]), adversarial)
    assert score.success == 1
    assert score.success_8bit == 0.5


def test_targeted_success_is_the_class_reached(world):
    model, x, _, _ = world
    goal = (model(x).argmax(1) + 1) % 3
    reached = bridge.run(
        "pgd", model, x, goal, epsilon=0.9, steps=60, step_size=0.05, targeted=True
    ).output
    score = audit(model, x, goal, reached, epsilon=0.9, norm="linf", targeted=True)
    assert score.success == pytest.approx(float((model(reached).argmax(1) == goal).double().mean()))
    assert score.success > 0
    assert audit(model, x, goal, x, targeted=True).success == 0


def test_a_model_that_takes_one_number_of_images_is_looked_at_with_all_of_them():
    class OnlySeventy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(70, 4, -1).sum(2)

    x = torch.rand(70, 1, 4, 4)
    model = bridge.wrap(OnlySeventy().eval())
    predicted, _ = classify(model, x)
    assert predicted.tolist() == x.view(70, 4, -1).sum(2).argmax(1).tolist()
    assert audit(model, x, predicted, x).correct == 70
