"""What Quantus 0.6 says of faithfulness and stability, and the papers do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import bridge
from benchmarks.disagreement_examples import (
    BLACK,
    SIDE,
    Row,
    by_quantus,
    linear,
    of,
    ours,
    raised,
)


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
        (SIDE / 2) ** 2 / SIDE**2,
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
