"""Adversarial deletion: the score while the pixels that the map calls important are attacked."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain, LinfSize
from bridge.core.registry import get
from bridge.core.within import attacked
from bridge.fused.planning import Plan, task_of
from bridge.metrics._curve import Curve
from bridge.metrics._neighbours import one_step, running
from bridge.metrics._pixels import pixel_values, positions
from bridge.metrics._score import Score, scores
from bridge.metrics.registry import metric

Points = Annotated[int, Domain(low=1, whole=True, unit="steps to the whole image", others=(4,))]


def _passes(pixels: int, *, points: int = 10, attack: str | None = None, **_: Any) -> float:
    """The clean images, and at each share the attack's own passes and a look at what it made."""
    name = one_step().name if attack is None else attack
    task = task_of(name, {}, torch.zeros(1, 1, 1, pixels))
    if task.own is None:
        return math.nan  # it stops when it likes
    return 1 + points * (Plan((task,), predict=False).passes[0] + 1)


@metric("adversarial_deletion", better="lower", paper="arXiv:2411.14946", passes=_passes)
def adversarial_deletion(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    epsilon: LinfSize = 8 / 255,
    points: Points = 10,
    attack: str | None = None,
    score: Score = "probability",
) -> tuple[Tensor, Curve]:
    """The area under the score over the share of pixels attacked, most important first, (n,).

    Nieradzik et al. 2024: deletion, but the first k / `points` of the pixels (k = 0, 1, ...) are
    perturbed adversarially, up to `epsilon` a pixel, in place of blanked: the images stay near
    those that the model knows. `attack` is the name of one (None: one step along the sign of the
    loss's gradient), run anew at each share on those pixels alone; it attacks the target. Pixels in
    the order of the map's signed sum over channels, ties in reading order; `score` as in
    `deletion`.
    """
    method = one_step() if attack is None else get(attack)
    if method.kind != "attack":
        raise ValueError(f"attack={attack!r} is no attack")
    call = running(method, epsilon)
    place = positions(pixel_values(maps, x))
    pixels = place[0].numel()
    shown = [x]
    for k in range(1, points + 1):
        mask = place < round(k / points * pixels)
        shown.append(attacked(call, model, x, target, mask).output)
    made = torch.stack(shown)
    found = scores(model, target, len(shown), lambda image, k: made[k, image], score)
    curve = Curve(torch.arange(points + 1, dtype=torch.float64) / points, found)
    return curve.area(), curve


@adversarial_deletion.variant("the least important pixels go first")
def least_first(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return adversarial_deletion(model, x, target, -maps, **params)


@adversarial_deletion.variant("the map's absolute values order the pixels")
def by_size(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return adversarial_deletion(model, x, target, maps.abs(), **params)


@adversarial_deletion.variant("the pixels are blanked, not attacked")
def blanked(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    points: int,
    score: Any,
    **_: Any,
) -> Tensor:
    place = positions(pixel_values(maps, x))
    pixels = place[0].numel()

    def make(image: Tensor, k: Tensor) -> Tensor:
        counts = (k / points * pixels).round().view(-1, 1, 1)
        return x[image] * (place[image] >= counts)[:, None]

    found = scores(model, target, points + 1, make, score)
    return Curve(torch.arange(points + 1, dtype=torch.float64) / points, found).area()


@adversarial_deletion.variant("every point counts alike: the area is the mean of the curve")
def mean_of_points(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Any:
    return adversarial_deletion(model, x, target, maps, **params)[1].values.mean(1)


@adversarial_deletion.variant("the area is not divided by the number of steps (dx = 1)")
def unit_steps(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    values = adversarial_deletion(model, x, target, maps, **params)[1].values
    return torch.trapezoid(values, dim=1)


@adversarial_deletion.variant("the score is the logit, not the probability")
def of_logits(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Any:
    return adversarial_deletion(model, x, target, maps, **{**params, "score": "logit"})
