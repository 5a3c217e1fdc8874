"""What Quantus 0.6 says of where and how wide a map is, and of axioms, and the papers do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import bridge
from benchmarks.disagreement_examples import (
    BLACK,
    SIDE,
    Row,
    by_quantus,
    corner,
    linear,
    of,
    ours,
    raised,
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
    # By hand, of a draw that keeps the class.
    start = small[1].numpy()
    moved_by = 0.01 * direction.reshape(1, 1, SIDE, SIDE)
    first = explained(model.module, start, None)
    change = (first - explained(model.module, start + moved_by, None)) / first
    by_hand = np.linalg.norm(change[0]) / np.linalg.norm(moved_by / start[0])
    return Row(
        "relative input stability, one of three draws flips the class",
        "quantus",
        "linear, input x gradient; the other two draws are the same",
        float(theirs[0]),
        float(by_hand),
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
