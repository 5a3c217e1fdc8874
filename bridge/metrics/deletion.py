"""Deletion: how fast the score falls while the pixels that the map calls important are taken."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.metrics._curve import Curve, passes_of, replaced_curve
from bridge.metrics._pixels import pixel_values, positions
from bridge.metrics._replacement import Replacement, replacement
from bridge.metrics._score import Score
from bridge.metrics.registry import metric

Step = Annotated[int | None, Domain(low=1, whole=True, optional=True, unit="pixels")]


@metric(
    "deletion",
    better="lower",
    paper="arXiv:1806.07421",
    passes=lambda pixels, step=None, **_: passes_of(pixels, step),
)
def deletion(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    step: Step = None,
    baseline: Replacement = "zero",
    score: Score = "probability",
) -> tuple[Tensor, Curve]:
    """The area under the score over the share of pixels replaced, most important first, (n,).

    RISE (Petsiuk et al. 2018): `step` pixels at a time (None: a 28th of the image), by `baseline`,
    the score being the target's "probability" (softmax), "logit", or "accuracy" (1 where it is
    predicted). Pixels in the order of the map's signed sum over channels, ties in reading order.
    """
    place = positions(pixel_values(maps, (x.shape[2], x.shape[3])))
    curve = replaced_curve(model, target, x, replacement(x, baseline), place, step, score)
    return curve.area(), curve
