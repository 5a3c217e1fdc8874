"""What grad-cam, Captum, LATEC and the twins that we know say, and the papers do not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

import bridge
from benchmarks.disagreement_examples import Row, linear, of, ours
from bridge.core.registry import get
from bridge.metrics._curve import Curve
from bridge.metrics._pixels import random_ties


@of("pytorch_grad_cam")
def percentiles_of_ties() -> Row:
    from pytorch_grad_cam.metrics.perturbation_confidence import RemoveMostRelevantFirst

    cam = torch.zeros(8, 8)
    cam[2:4, 2:4] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # 94 % of it is zero
    taken = []

    def imputer(image: Tensor, mask: Tensor) -> Tensor:
        taken.append(float((mask == 0).float().mean()))
        return image

    RemoveMostRelevantFirst(75, imputer)(torch.rand(3, 8, 8), cam)
    torch.manual_seed(0)
    gone = random_ties(cam[None]) < round(0.25 * cam.numel())  # as our ROAD takes them
    return Row(
        "ROAD, share of pixels removed",
        "grad-cam",
        "a map of which 94 % is zero, at percentile 75: a quarter is asked for",
        taken[0],
        float(gone.double().mean()),
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
    n = 9
    values = torch.linspace(1, 0, n, dtype=torch.float64)
    curve = Curve(torch.linspace(0, 1, n, dtype=torch.float64), values[None])
    return Row(
        "area under the curve",
        "LATEC's formula",
        "9 points from 1 down to 0",
        float(np.trapezoid(values.numpy(), dx=1 / n)),
        float(curve.area()[0]),
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
