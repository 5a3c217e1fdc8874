"""The records that everything passes around: frozen dataclasses, that compute nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

Verdict = Literal["equal", "rounding", "differs", "failed"]


class Unsupported(ValueError):
    """An implementation cannot do what was asked, and says so instead of doing something else."""


class BridgeWarning(UserWarning):
    """Something that would make numbers misleading, though they can be computed."""


@dataclass(frozen=True)
class Failure:
    """What went wrong where; everything else of the comparison is still there."""

    method: str
    implementation: str
    stage: str
    error: str
    message: str


@dataclass(frozen=True)
class Run:
    """One method, by one implementation, on one batch.

    `output` is detached: an attribution, or adversarial images of the shape of `x` (with a leading
    axis where several epsilons were asked for). `forwards` and `backwards` count images through the
    model, not calls. `seconds` is wall time with the device synchronised. `details` holds what a
    method reports besides, such as how many steps each image took. `noticed` is what went wrong
    without stopping it: weights that were written into (and put back), values that are not finite.
    """

    method: str
    implementation: str
    params: Mapping[str, Any]
    output: Tensor
    seconds: float
    forwards: int
    backwards: int
    details: Mapping[str, Any] = field(default_factory=dict)
    noticed: tuple[Failure, ...] = ()

    def _repr_html_(self) -> str:
        """Its pictures and facts, in a notebook."""
        from bridge.core.notebook import run_html

        return run_html(self)


@dataclass(frozen=True)
class Direction:
    """How far 16 bits turn an output from the reference in float64: the least of all images.

    Rank correlation and cosine, of maps, or of what an attack changed; `reference_rank` and
    `reference_cosine` are those of the reference itself in 16 bits.
    """

    rank: float
    cosine: float
    reference_rank: float
    reference_cosine: float


@dataclass(frozen=True)
class Agreement:
    """How far one implementation is from the reference.

    Gaps are relative to the largest value of each image's map, or to the range of pixel values.
    `gap` and `verdict` are taken in float64, `gap_float32` and `verdict_float32` in float32;
    `noise` is the reference's own float32 rounding (itself in float32 against itself in float64).
    `images` counts those beyond the noise. On a model that computes in 16 bits, where gaps say
    nothing, `verdict_float32` is that of those bits and rests on the `direction`.
    """

    verdict: Verdict
    gap: float
    verdict_float32: Verdict
    gap_float32: float
    noise: float
    images: int
    cause: str = ""
    direction: Direction | None = None


@dataclass(frozen=True)
class Score:
    """What an attack achieved, audited on the returned images: never taken from a library's word.

    `success` counts among the images that the model classifies right (nan where there are none),
    `changed` among all images against the model's own clean prediction, `success_8bit` after
    rounding to 256 levels. An image that is not finite, out of bounds, outside the ball or blacked
    out is invalid and never a success. Norms are medians over the valid images.
    """

    success: float
    changed: float
    success_8bit: float
    correct: int
    images: int
    l0: float
    l2: float
    linf: float
    unchanged: int
    invalid: int
    reasons: str = ""
