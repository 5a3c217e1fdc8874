"""Other libraries' metrics: the same number, or a row of benchmarks/disagreements.md that is true.

Quantus is under the LGPL and nobody's dependency here: `pip install --no-deps` it, as .ci/run does;
without a library its tests are skipped. float32 is what these libraries compute in.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bridge
from benchmarks import disagreement_examples as examples
from benchmarks import disagreements
from benchmarks.disagreements_of_others import known_twins
from bridge.metrics.measure import measure
from bridge.metrics.road import imputed
from tests.networks import Plain, images, seeded

MAKERS = [
    pytest.param(library, make, id=make.__name__)
    for library, makers in examples.ROWS.items()
    for make in makers
]
# Rows of which a number is rounding, or has noise in it.
NOISY = (
    *("infidelity_of_contributions", "completeness_by_equality", "road_scores_confidence"),
    "sensitivity_n_is_cumulative",
)
FLOAT32 = 1e-5  # relative: some hundred sums in float32


@pytest.mark.parametrize(("library", "make"), MAKERS)
def test_a_disagreement_that_is_written_down_is_there(library: str, make: Any) -> None:
    pytest.importorskip(library)
    row = make()
    if isinstance(row.theirs, str) or isinstance(row.ours, str) or math.isnan(row.theirs):
        assert row.theirs != row.ours
        return
    assert math.isfinite(row.ours)
    assert not math.isclose(row.theirs, row.ours, rel_tol=1e-3)


def test_the_twins_that_the_registry_knows_to_differ_have_a_row_each() -> None:
    known = [
        (name, library)
        for name in bridge.methods()
        for library, twin in bridge.registry.get(name).twins.items()
        if twin.differs
    ]
    found = list(known_twins())
    assert [(row.what.split(",")[0], row.library) for row in found] == known
    assert all(row.theirs != row.ours for row in found)


def test_the_page_has_the_numbers_that_the_script_computes() -> None:
    pytest.importorskip("quantus")
    page = disagreements.PAGE.read_text(encoding="utf-8")
    for library, makers in examples.ROWS.items():
        if importlib.util.find_spec(library) is None:
            continue
        for make in makers:
            row = make()
            cells = f"| {disagreements.shown(row.theirs)} | {disagreements.shown(row.ours)} |"
            if make.__name__ not in NOISY:
                assert cells in page, make.__name__


# The same number.


def world(channels: int = 1) -> tuple[Any, Tensor, Tensor, Tensor]:
    """A small network in float32, three images, classes, and maps of random numbers, no two alike.

    One channel, where a pixel is a number: Quantus' metrics of pixels are right there.
    """
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    x = torch.rand(3, channels, 8, 8)
    return bridge.wrap(module.eval()), x, torch.tensor([0, 1, 2]), torch.randn(3, 1, 8, 8)


def by_quantus(name: str, given: Any, **more: Any) -> np.ndarray:
    return np.asarray(examples.by_quantus(name, given, **more), dtype=np.float64)


def same(ours: Tensor, theirs: Any, *, rel: float = FLOAT32) -> None:
    assert ours.tolist() == pytest.approx(np.asarray(theirs).ravel().tolist(), rel=rel, abs=1e-6)


def masks() -> np.ndarray:
    found = np.zeros((3, 1, 8, 8), dtype=bool)
    found[:, :, 2:5, 1:4] = True
    return found


def test_quantus_flips_the_same_pixels_of_grey_images() -> None:
    pytest.importorskip("quantus")
    given = world()
    theirs = by_quantus(
        "PixelFlipping", given, features_in_step=8, softmax=False, perturb_baseline=0.0
    )
    ours = measure("pixel_flipping", *given, step=8, baseline="zero")
    assert ours.curve is not None
    for k in range(3):  # its curve begins after the first step
        same(ours.curve.values[k, 1:], theirs[k])


def test_quantus_pointing_game_and_localisation_are_ours_where_there_is_a_truth() -> None:
    pytest.importorskip("quantus")
    model, x, target, maps = given = world()
    truth = torch.from_numpy(masks()[:, 0])
    same(
        measure("pointing_game", *given, masks=truth),
        by_quantus("PointingGame", given, masks=masks()),
    )
    positive = (model, x, target, maps.clamp(min=0))
    theirs = by_quantus(
        "AttributionLocalisation", given, masks=masks(), positive_attributions=True, abs=False
    )
    same(measure("energy_pointing_game", *given, masks=truth), theirs)
    theirs = by_quantus("RelevanceMassAccuracy", positive, masks=masks())
    same(measure("energy_pointing_game", *given, masks=truth), theirs)


def test_quantus_complexity_and_sparseness_are_ours_of_one_channel() -> None:
    pytest.importorskip("quantus")
    given = world()
    same(measure("entropy", *given), by_quantus("Complexity", given))
    # It adds 1e-7 to each value, of which the largest is 1 after its normalisation.
    same(measure("sparseness", *given), by_quantus("Sparseness", given))


def test_quantus_max_sensitivity_is_ours_where_the_noise_is_the_same() -> None:
    pytest.importorskip("quantus")
    model, x, target, _ = world()
    x = 0.2 + 0.6 * x  # what is moved stays within the bounds
    noise = 0.02 * torch.randn(4, *x.shape)
    maps = bridge.run("input_x_gradient", model, x, target).output
    draws = iter(noise)

    def moved(arr: Any, indices: Any, **_: Any) -> Any:
        return arr + next(draws).reshape(len(arr), -1).numpy()

    def explained(inputs: Any, targets: Any, **_: Any) -> Any:
        at = torch.as_tensor(inputs), torch.as_tensor(targets)
        return bridge.run("input_x_gradient", model, *at).output.numpy()

    given = (model, x, target, maps)
    theirs = by_quantus(
        "MaxSensitivity", given, nr_samples=4, perturb_func=moved, explain_func=explained
    )
    same(measure("max_sensitivity", *given, explain="input_x_gradient", noise=noise), theirs)


def test_quantus_random_logit_is_ours_where_there_is_one_other_class() -> None:
    quantus = pytest.importorskip("quantus")
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 2)).eval()
    model, (_, x, _, _) = bridge.wrap(module), world()
    target = torch.tensor([0, 1, 0])

    def explained(inputs: Any, targets: Any, **_: Any) -> Any:
        at = torch.as_tensor(inputs), torch.as_tensor(targets)
        return bridge.run("saliency", model, *at).output.numpy()

    maps = bridge.run("saliency", model, x, target).output
    theirs = by_quantus(
        "RandomLogit",
        (model, x, target, maps),
        num_classes=2,
        similarity_func=quantus.similarity_func.correlation_spearman,
        explain_func=explained,
    )
    same(measure("random_logit", model, x, target, "saliency"), theirs)


def test_quantus_road_is_ours_of_grey_images() -> None:
    pytest.importorskip("quantus")
    given = world()
    theirs: Any = examples.by_quantus("ROAD", given, percentages=[25, 50], noise=0.0)
    ours = measure("road", *given, shares=(0.25, 0.5), stdev=0.0)
    assert ours.curve is not None
    assert list(theirs.values()) == pytest.approx(ours.curve.values.mean(0).tolist())


def test_grad_cams_imputation_is_ours() -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    torch.manual_seed(1)
    image, gone = torch.rand(3, 9, 7), torch.rand(9, 7) < 0.5
    theirs = road.NoisyLinearImputer(noise=0.0)(image, (~gone).float())
    assert torch.allclose(imputed(image, gone), theirs, rtol=0, atol=1e-6)  # float32 of both


def test_grad_cams_road_is_ours_of_a_map_without_ties() -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    perturbation = pytest.importorskip("pytorch_grad_cam.metrics.perturbation_confidence")
    model, x, target, maps = world(3)
    remove = perturbation.RemoveMostRelevantFirst(75, road.NoisyLinearImputer(noise=0.0))
    chosen = [targets.ClassifierOutputSoftmaxTarget(int(t)) for t in target]
    with bridge.frozen(model):
        theirs = perturbation.PerturbationConfidenceMetric(remove)(
            x, maps[:, 0].numpy(), chosen, model, return_diff=False
        )
    same(
        measure("road", model, x, target, maps, shares=(0.25,), stdev=0.0, score="probability"),
        theirs,
    )


def scaled(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low)


def test_grad_cams_increase_is_ours_and_its_drop_before_it_is_divided() -> None:
    cam_mult = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model, x, target, maps = given = world(3)
    chosen = [targets.ClassifierOutputSoftmaxTarget(int(t)) for t in target]
    call = x, scaled(maps)[:, 0].numpy(), chosen, model
    with bridge.frozen(model):
        rises, drops = cam_mult.IncreaseInConfidence()(*call), cam_mult.DropInConfidence()(*call)
        with torch.no_grad():
            whole = model(x).softmax(1)[range(3), target]
    same(measure("increase_in_confidence", *given), rises)
    same(measure("average_drop", *given) * whole, drops)


class Given:
    """What torchcam asks for the maps: these ones."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *_: Any, **__: Any) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return warnings.catch_warnings()


def test_torchcams_average_drop_and_increase_are_ours() -> None:
    metrics = pytest.importorskip("torchcam.metrics")
    model, x, target, maps = given = world(3)
    theirs = metrics.ClassificationMetric(
        Given(model, scaled(maps)[:, 0]), lambda logits: logits.softmax(-1)
    )
    theirs.update(x, target.tolist())
    found = SimpleNamespace(**theirs.summary())
    # It divides by Y + 1e-7.
    same(measure("average_drop", *given).mean()[None], [found.avg_drop])
    same(measure("increase_in_confidence", *given).mean()[None], [found.conf_increase])


def test_torchcams_deletion_and_insertion_are_ours() -> None:
    metrics = pytest.importorskip("torchcam.metrics")
    model, x, target, maps = given = world(3)
    theirs = metrics.DeletionInsertionMetric(
        Given(model, maps[:, 0]), lambda logits: logits.softmax(-1), steps=7
    )
    theirs.update(x, target.tolist())
    found = SimpleNamespace(**theirs.summary())
    step = math.ceil(64 / 7)
    same(measure("deletion", *given, step=step).mean()[None], [found.deletion_auc])
    inserted = measure("insertion", *given, step=step, baseline="zero")
    same(inserted.mean()[None], [found.insertion_auc])


def test_captums_twins_are_ours_on_colour_too() -> None:
    model, x = bridge.wrap(seeded(Plain).double()), images(3).double()
    target = torch.tensor([0, 1, 2])
    noise = 0.1 * torch.randn(5, *x.shape).double()
    for name, more in (("infidelity", {}), ("max_sensitivity", {"explain": "saliency"})):
        by = {
            implementation: measure(
                name,
                model,
                x,
                target,
                "saliency",
                implementation=implementation,
                noise=noise,
                **more,
            )
            for implementation in ("reference", "captum")
        }
        same(by["reference"], by["captum"], rel=1e-9)
