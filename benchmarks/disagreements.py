"""Where libraries' numbers are not the paper's: each with the smallest example that shows it.

    python benchmarks/disagreements.py

Both numbers of each row are computed again by this script. A library that is not installed has no
rows, and the page says so (Quantus is under the LGPL and is nobody's dependency here:
`pip install --no-deps --target FOLDER "quantus==0.6.*"`, and FOLDER on PYTHONPATH). Writes
benchmarks/disagreements.md; tests/metrics/test_peers.py asserts what it says.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.registry import get
from bridge.core.types import BridgeWarning
from bridge.record.manifest import versions

PAGE = Path(__file__).parent / "disagreements.md"
SIDE = 4
BLACK = {"perturb_baseline": 0.0}  # Quantus' own "black" is a row below
warnings.filterwarnings("ignore", category=BridgeWarning)


@dataclass(frozen=True)
class Row:
    """What is computed on which example, the library's number and ours; the equation; who is right.

    A text stands for what is raised.
    """

    what: str
    library: str
    example: str
    theirs: float | str
    ours: float | str
    equation: str
    follows: str


Make = Callable[[], Row]
ROWS: dict[str, list[Make]] = {}


def of(library: str) -> Callable[[Make], Make]:
    """A row that needs this package."""

    def register(make: Make) -> Make:
        ROWS.setdefault(library, []).append(make)
        return make

    return register


# Examples: linear models, whose every answer can be written down.


class Linear(nn.Module):
    """Logits (w . x, 0) of images (n, c, h, w)."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        first = (x * self.weights).flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


def linear(channels: int = 1) -> tuple[ModelAdapter, Tensor, Tensor, Tensor]:
    """A linear model, two images, their classes, and the true contributions w * x."""
    torch.manual_seed(0)
    model = Linear(torch.rand(channels, SIDE, SIDE) - 0.3).eval()
    x = torch.rand(2, channels, SIDE, SIDE)
    zeros = torch.zeros(2, dtype=torch.int64)
    return bridge.wrap(model), x, zeros, (model.weights * x).detach()


def ours(name: str, world: Any, **params: Any) -> Tensor:
    model, x, target, maps = world
    return bridge.measure(name, model, x, target, maps, **params).as_subclass(Tensor)


def by_quantus(
    metric: str, world: Any, *, maps: Any = None, masks: Any = None, **given: Any
) -> Any:
    """What a metric of Quantus says; `given` are its own parameters, else its defaults."""
    import quantus

    call = {key: given.pop(key) for key in ("softmax", "explain_func") if key in given}
    model, x, target, own = world
    made = getattr(quantus, metric)(disable_warnings=True, **given)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return made(
            model=model.module,
            x_batch=x.numpy(),
            y_batch=target.numpy(),
            a_batch=(own if maps is None else maps).numpy() if maps is not False else None,
            s_batch=masks,
            device="cpu",
            **call,
        )


def raised(call: Callable[[], Any]) -> str:
    """The kind of what a call raises. Raises RuntimeError where it raises nothing."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    raise RuntimeError("it raises no more")


def corner() -> Any:
    """A mask of one pixel in the corner, (2, 1, h, w)."""
    masks = np.zeros((2, 1, SIDE, SIDE), dtype=bool)
    masks[:, :, 0, 0] = True
    return masks


@of("quantus")
def flips_channels() -> Row:
    world = linear(channels=3)
    step = 4  # a 12th of the 48 numbers, a quarter of the 16 pixels
    theirs = by_quantus("PixelFlipping", world, features_in_step=step, softmax=False, **BLACK)[0][0]
    own = bridge.measure("pixel_flipping", *world, step=step, baseline="zero").curve
    return Row(
        "pixel flipping",
        "quantus",
        f"RGB, 4 x 4 pixels, linear; the score after the first step of {step}",
        float(theirs),
        float(own.values[0, 1]),
        "Bach 2015, sec. 5: a pixel is flipped, all its channels; Quantus flips channel values",
        "ours",
    )


@of("quantus")
def leaves_the_start_out() -> Row:
    world = linear()
    curve = by_quantus("PixelFlipping", world, features_in_step=4, softmax=False, **BLACK)[0]
    own = bridge.measure("pixel_flipping", *world, step=4, baseline="zero").curve
    return Row(
        "pixel flipping, points of the curve",
        "quantus",
        "grey, 16 pixels in steps of 4",
        float(len(curve)),
        float(own.values.shape[1]),
        "Samek 2017, eq. 12: k = 0 .. L, of which k = 0 is the image itself",
        "ours",
    )


@of("quantus")
def black_is_the_smallest() -> Row:
    model, x, target, maps = linear()
    world = (model, x.clamp(min=0.25), target, maps)
    theirs = by_quantus("PixelFlipping", world, features_in_step=16, softmax=False)[0][0]
    own = bridge.measure("deletion", *world, step=16, score="logit").curve
    return Row(
        "the baseline called black",
        "quantus",
        "linear, pixels from 0.25 to 1; the logit where all of them are replaced",
        float(theirs),
        float(own.values[0, -1]),
        "black is 0; Quantus takes the smallest value that the batch happens to have",
        "ours",
    )


@of("quantus")
def has_no_area() -> Row:
    def area() -> Any:
        return by_quantus(
            "PixelFlipping", linear(), features_in_step=4, return_auc_per_sample=True, softmax=False
        )

    try:
        theirs: float | str = float(area()[0])
    except Exception as error:
        theirs = type(error).__name__
    own = bridge.measure("deletion", *linear(), step=4, score="logit")
    return Row(
        "area under the curve",
        "quantus",
        "grey, 16 pixels in steps of 4; np.trapz, which NumPy 2.4 has no more, with dx = 1",
        theirs,
        float(own[0]),
        "RISE, sec. 4.3: over the share of pixels from 0 to 1",
        "ours",
    )


@of("quantus")
def road_of_colour() -> Row:
    world = linear(channels=3)
    theirs = raised(lambda: by_quantus("ROAD", world, percentages=[50]))
    own = ours("road", world, shares=(0.5,), stdev=0.0)
    return Row(
        "ROAD",
        "quantus",
        "RGB, a map of three channels, half of the pixels",
        theirs,
        float(own.mean()),
        "Rong 2022, sec. 4: accuracy with the top share of pixels imputed",
        "ours",
    )


@of("quantus")
def infidelity_of_contributions() -> Row:
    world = linear()
    theirs = by_quantus("Infidelity", world, perturb_patch_sizes=[2], n_perturb_samples=1, **BLACK)
    own = ours("infidelity", world, speaks_of="contribution")
    return Row(
        "infidelity of input x gradient",
        "quantus",
        "linear, its own contributions w * x",
        float(theirs[0]),
        float(own[0]),
        "Yeh 2019, def. 2.1 with sec. 2.3: a map that multiplies by x is divided by it first",
        "ours (and captum)",
    )


@of("quantus")
def infidelity_is_cumulative() -> Row:
    shares = []

    def watching(arr: Any, indices: Any, **kwargs: Any) -> Any:
        from quantus.functions.perturb_func import batch_baseline_replacement_by_indices

        found = batch_baseline_replacement_by_indices(
            arr=arr, indices=indices, perturb_baseline="black"
        )
        shares.append(float((found != world[1].reshape(2, -1).numpy()).mean()))
        return found

    world = linear()
    by_quantus(
        "Infidelity",
        world,
        perturb_patch_sizes=[2],
        n_perturb_samples=1,
        perturb_func=watching,
    )
    return Row(
        "infidelity, share of pixels that its last draw changes",
        "quantus",
        "grey, patches of a quarter of the image",
        shares[-1],
        0.25,
        "Yeh 2019, sec. 2.2: each draw perturbs the image itself, not what the last one left",
        "ours (and captum)",
    )


@of("quantus")
def sums_channels() -> Row:
    import quantus

    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)).eval()
    model, x = bridge.wrap(module), torch.rand(2, 3, SIDE, SIDE)
    target = torch.tensor([0, 1])
    noise = 0.2 * (2 * torch.rand(1, *x.shape) - 1)
    maps = bridge.run("saliency", model, x, target).output

    def explained(model: Any, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        return quantus.explain(
            model, inputs, targets, method="Saliency", device="cpu", reduce_axes=(1,), abs=False
        )

    def moved(arr: Any, indices: Any, **kwargs: Any) -> Any:
        return arr + noise[0].reshape(len(arr), -1).numpy()

    theirs = by_quantus(
        "MaxSensitivity",
        (model, x, target, maps.sum(1, keepdim=True)),
        nr_samples=1,
        perturb_func=moved,
        explain_func=explained,
    )
    own = ours("max_sensitivity", (model, x, target, maps), explain="saliency", noise=noise)
    return Row(
        "max-sensitivity of a sum over channels",
        "quantus",
        "RGB, a small network, one draw that both take",
        float(theirs[0]),
        float(own[0]),
        "Yeh 2019, def. 3.1: of the explanation, a number for each input",
        "ours (and captum); quantus.explain sums the channels by default",
    )


@of("quantus")
def empty_mask_is_a_hit() -> Row:
    world = linear()
    found = by_quantus("PointingGame", world, masks=np.zeros((2, 1, SIDE, SIDE), dtype=bool))
    return Row(
        "pointing game, empty mask",
        "quantus",
        "no pixel is the truth",
        float(found[0]),
        raised(lambda: ours("pointing_game", world, masks=torch.zeros(2, SIDE, SIDE).bool())),
        "Zhang 2016, sec. 4.1: a hit lies on the object; NaN in an array of booleans is True",
        "ours",
    )


@of("quantus")
def constant_map_hits() -> Row:
    model, x, target, _ = linear()
    maps = torch.full((2, 1, SIDE, SIDE), 0.5)
    maps[1, 0, 1, 1] = 1  # it refuses a batch in which all are constant
    world = (model, x, target, maps)
    own = ours("pointing_game", world, masks=torch.from_numpy(corner()[:, 0]))
    return Row(
        "pointing game, constant map",
        "quantus",
        "the truth is one of 16 pixels (another image's map is not constant)",
        float(by_quantus("PointingGame", world, masks=corner())[0]),
        float(own[0]),
        "Zhang 2016, sec. 4.1: one largest point; drawn among ties it hits by chance, 1 / 16",
        "ours",
    )


@of("quantus")
def weighted_raises() -> Row:
    world = linear()
    peak = torch.zeros(2, 1, SIDE, SIDE)
    peak[:, :, 0, 0] = 1
    call = {"maps": peak, "masks": corner()}
    own = ours("pointing_game", (*world[:3], peak), masks=torch.from_numpy(corner()[:, 0]))
    return Row(
        "pointing game, weighted",
        "quantus",
        "weighted=True on a map that hits (ours has no weight)",
        raised(lambda: by_quantus("PointingGame", world, weighted=True, **call)),
        float(own[0]),
        "(no equation: an option that raises)",
        "–",
    )


@of("quantus")
def entropy_of_signs() -> Row:
    model, x, target, _ = linear()
    maps = torch.ones(2, 1, SIDE, SIDE)
    maps[:, :, :2] = -1
    theirs = by_quantus("Complexity", (model, x, target, maps), abs=False, normalise=False)
    return Row(
        "complexity of a signed map",
        "quantus",
        "half of 16 pixels 1, half -1, abs=False",
        float(theirs[0]),
        float(ours("entropy", (model, x, target, maps))[0]),
        "Bhatt 2020, def. 5: of |v_i| / sum |v_j|: ln 16",
        "ours",
    )


def overwritten(metric: str) -> float:
    """By how much a metric of Quantus changes the maps that it is given."""
    world = linear()
    maps = world[3].abs()
    before = maps.clone()
    by_quantus(metric, world, maps=maps, abs=False, normalise=False)
    return float((maps - before).abs().max())


@of("quantus")
def complexity_writes() -> Row:
    return Row(
        "complexity, change of the caller's maps",
        "quantus",
        "abs=False, normalise=False",
        overwritten("Complexity"),
        0.0,
        "a measurement leaves what it measures",
        "ours",
    )


@of("quantus")
def sparseness_writes() -> Row:
    return Row(
        "sparseness, change of the caller's maps",
        "quantus",
        "abs=False, normalise=False",
        overwritten("Sparseness"),
        0.0,
        "a measurement leaves what it measures",
        "ours",
    )


@of("quantus")
def one_flip_undoes_an_image() -> Row:
    model, x, target, _ = linear()
    flips = iter([1.0, -9.0, 1.0])  # the second of three draws changes the prediction

    weights = model.module.weights.detach().numpy().reshape(-1)
    direction = np.sign(weights) * (weights < weights.max())

    def moved(arr: Any, indices: Any, **kwargs: Any) -> Any:
        return (arr + 0.01 * next(flips) * direction).astype(np.float32)

    small = (model, 0.05 + 0 * x, target)

    def explained(model: Any, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        return np.asarray(inputs) * model.weights.detach().numpy()

    maps = torch.from_numpy(explained(model.module, small[1], None))
    theirs = by_quantus(
        "RelativeInputStability",
        (*small, maps),
        nr_samples=3,
        perturb_func=moved,
        explain_func=explained,
    )
    # By hand, of a draw that keeps the class: both changes are relative, to x and to the map w * x,
    # and so they are the same pixel by pixel.
    return Row(
        "relative input stability, one of three draws flips the class",
        "quantus",
        "linear, input x gradient; the other two draws are the same",
        float(theirs[0]),
        1.0,
        "Agarwal 2022, eq. 2: the maximum over draws that keep the class; np.max of one NaN is NaN",
        "neither does: the equation, by hand",
    )


@of("quantus")
def completeness_by_equality() -> Row:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)).eval()
    model, x, target = bridge.wrap(module), torch.rand(2, 1, SIDE, SIDE), torch.tensor([0, 1])
    maps = bridge.run("integrated_gradients", model, x, target, n_steps=50).output
    world = (model, x, target, maps)
    return Row(
        "completeness of integrated gradients",
        "quantus",
        "50 steps of Gauss-Legendre, float32; Quantus: 1 complete, 0 not; ours: the relative gap",
        float(by_quantus("Completeness", world, normalise=False, **BLACK)[0]),
        float(ours("completeness_gap", world)[0]),
        "Sundararajan 2017, sec. 3: sum map = f(x) - f(x'); floats are compared with ==",
        "ours",
    )


@of("quantus")
def sensitivity_n_is_cumulative() -> Row:
    world = linear()
    theirs = by_quantus(
        "SensitivityN", world, features_in_step=2, normalise=False, return_aggregate=False, **BLACK
    )
    return Row(
        "sensitivity-n",
        "quantus",
        "linear, its own contributions, sets of 2 of 16 pixels",
        float(np.asarray(theirs).ravel()[0]),
        float(ours("sensitivity_n", world, share=2 / 16)[0]),
        "Ancona 2018, sec. 4.2: random sets of n, each taken from the image: 1 for a linear model; "
        "Quantus takes the ranked sets one after another and sums the map over the last",
        "ours",
    )


@of("quantus")
def localisation_takes_sizes() -> Row:
    model, x, target, _ = linear()
    maps = torch.full((2, 1, SIDE, SIDE), -1.0)
    maps[:, :, 0, 0] = 1.0
    world = (model, x, target, maps)
    own = ours("energy_pointing_game", world, masks=torch.from_numpy(corner()[:, 0]))
    return Row(
        "attribution localisation",
        "quantus",
        "1 on the truth, -1 on the other 15 pixels",
        float(by_quantus("AttributionLocalisation", world, masks=corner())[0]),
        float(own[0]),
        "Kohlbrenner 2020, eq. 7; Wang 2020, sec. 4.4: the positive part; abs=True is the default",
        "ours",
    )


@of("pytorch_grad_cam")
def percentiles_of_ties() -> Row:
    from pytorch_grad_cam.metrics.perturbation_confidence import RemoveMostRelevantFirst

    cam = torch.zeros(8, 8)
    cam[2:4, 2:4] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # 94 % of it is zero
    taken = []

    def imputer(image: Tensor, mask: Tensor) -> Tensor:
        taken.append(float((mask == 0).float().mean()))
        return image

    RemoveMostRelevantFirst(90, imputer)(torch.rand(3, 8, 8), cam)
    return Row(
        "ROAD, share of pixels removed",
        "grad-cam",
        "a map of which 94 % is zero, at percentile 90",
        taken[0],
        0.1,
        "Rong 2022, sec. 4: the stated share; every pixel is at or above a threshold of zero",
        "ours, ties at random",
    )


@of("pytorch_grad_cam")
def road_scores_confidence() -> Row:
    from pytorch_grad_cam.metrics.road import ROADMostRelevantFirst
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    model, x, target, maps = linear()
    torch.manual_seed(0)
    theirs = ROADMostRelevantFirst(percentile=50)(
        x, maps.sum(1).numpy(), [ClassifierOutputSoftmaxTarget(0)] * 2, model.module
    )
    return Row(
        "ROAD, its score",
        "grad-cam",
        "grey, half of the pixels",
        float(theirs.mean()),
        float(ours("road", (model, x, target, maps), shares=(0.5,)).mean()),
        "Rong 2022, sec. 4: the accuracy; grad-cam gives the change of the confidence",
        "ours by default (score='probability' is theirs)",
    )


@of("pytorch_grad_cam")
def drop_is_not_divided() -> Row:
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    model, x, target, maps = linear()
    values = maps.sum(1)
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    theirs = DropInConfidence()(
        x,
        ((values - low) / (high - low)).numpy(),
        [ClassifierOutputSoftmaxTarget(0)] * 2,
        model.module,
    )
    return Row(
        "average drop",
        "grad-cam",
        "linear, the map scaled into [0, 1]",
        float(theirs[0]),
        float(ours("average_drop", (model, x, target, maps))[0]),
        "Chattopadhay 2018, sec. 4.1: max(0, Y - O) / Y; grad-cam does not divide by Y",
        "ours (and torchcam)",
    )


@of("captum")
def trapezoid() -> Row:
    from captum.attr._utils.approximation_methods import approximation_parameters

    from bridge.attributions._path import quadrature

    return Row(
        "integrated gradients, sum of the trapezoid's weights",
        "captum",
        "10 steps: every map is this much of what it should be",
        float(sum(approximation_parameters("riemann_trapezoid")[0](10))),
        float(sum(quadrature("riemann_trapezoid", 10)[1])),
        "weights of a quadrature over [0, 1] sum to 1",
        "ours",
    )


@of("numpy")
def latecs_area() -> Row:
    world = linear()
    curve = bridge.measure("deletion", *world, step=2, score="accuracy").curve
    values = curve.values[0].clone()
    values[:] = torch.linspace(1, 0, len(values))
    return Row(
        "area under the curve",
        "LATEC's formula",
        "9 points from 1 down to 0",
        float(np.trapezoid(values.numpy(), dx=1 / len(values))),
        float(type(curve)(curve.at, values[None]).area()[0]),
        "RISE, sec. 4.3: dx = 1 / (n - 1) of n points over [0, 1]",
        "ours (and RISE's code)",
    )


class Skip(nn.Module):
    """h + f(relu(h)), on which hooks at a ReLU's inputs see the skip path too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.second, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head((h + self.second(self.relu(h))).mean((2, 3)))


def known_twins() -> Iterator[Row]:
    """Attributions and attacks whose twin the registry knows to differ: a number of each output."""
    torch.manual_seed(0)
    model, x = bridge.wrap(Skip().eval(), layer="second"), torch.rand(3, 3, 8, 8)
    labels = torch.tensor([0, 1, 2])
    x[0, 0, 0, 0] = 0.5
    for name in bridge.methods():
        method = get(name)
        for library, twin in method.twins.items():
            if not twin.differs:
                continue
            given = dict(method.small("tiny", 8))
            if method.draw is not None:
                torch.manual_seed(3)
                given |= method.draw(x, **{**method.defaults, **given})
            theirs, own = (
                bridge.run(name, model, x, labels, implementation=by, **given).output
                for by in (library, "reference")
            )
            where = (theirs - own).abs().argmax()
            yield Row(
                f"{name}, the value that differs most",
                library,
                "h + f(relu(h)) with random weights, images of 8 x 8",
                float(theirs.flatten()[where]),
                float(own.flatten()[where]),
                "; ".join(filter(None, [method.paper, twin.differs])),
                "ours",
            )


def rows() -> tuple[list[Row], list[str]]:
    """All rows of what is installed, and the packages that are not."""
    found, absent = [], []
    for library, makers in ROWS.items():
        if importlib.util.find_spec(library) is None:
            absent.append(library)
        else:
            found += [make() for make in makers]
    return [*found, *known_twins()], absent


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


TEXT = """# Where libraries and papers disagree

Both numbers of each row were computed by `python benchmarks/disagreements.py`, on the smallest
example that shows it. What is not here is the same number, and tests say so
(tests/metrics/test_peers.py, tests/test_agreement_with_twins.py). {versions}.{absent}

| what | library | example | its number | ours | equation | who follows it |
|---|---|---|---|---|---|---|
{rows}

Not computed here: Quantus' parameter randomisation re-initialises in torch and shuffles in
TensorFlow (its issue 285); radius and samples of max-sensitivity are .02 / 10 in Captum, .2 / 200
in Quantus and .2 / 8 in pnpxai, so that their defaults do not compare; pnpxai and Quantus cite one
paper for complexity, and pnpxai takes a histogram of ten bins.
"""


@click.command()
def main() -> None:
    found, absent = rows()
    lines = [
        f"| {row.what} | {row.library} | {row.example} | {shown(row.theirs)} | {shown(row.ours)} | "
        f"{row.equation.replace('|', chr(92) + '|')} | {row.follows} |"
        for row in found
    ]
    known = versions(("torch", "numpy", "quantus", "grad-cam", "torchcam", "captum", "foolbox"))
    lacking = f" Not installed, and without rows: {', '.join(absent)}." if absent else ""
    text = TEXT.format(
        rows="\n".join(lines),
        versions=", ".join(f"{name} {version}" for name, version in known.items() if version),
        absent=lacking,
    )
    PAGE.write_text(text, encoding="utf-8")
    click.echo(PAGE)


if __name__ == "__main__":
    main()
