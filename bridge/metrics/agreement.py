"""Agreement: is an implementation the same method as the reference? Verdicts, and their gaps.

Judged in float64, where rounding cannot flip a gradient's sign. The yardstick is the noise floor:
the reference in float32 against itself in float64, measured on the same images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bridge.core.types import Agreement, Direction, Verdict
from bridge.metrics.similarity import cosine, ranks, spearman

# In float64 two evaluation orders of these methods differ by 1e-12 at most (sums of 1e5 terms at
# 1e-16 each, relative to the largest); 1e-9 leaves room for deep networks and is far below anything
# that a wrong formula does.
EQUAL = 1e-9
# Two float32 evaluations err independently, each by about the noise floor, and we compare maxima
# over many pixels.
MULTIPLE = 8
# No float32 output is closer to the truth than this, whatever was measured.
FLOAT32 = 2.0**-23
# A library may round to float32 inside although it is given float64 (Captum does where it covers
# windows or sums along a path). That is as far as float64 excuses: where the measured noise is
# larger (an attack by signs flips them in float32), it says nothing about float64.
FLOAT64_NOISE = 1e-6

# No direction in 16 bits is nearer to the truth than this: bfloat16 has eight bits of a number.
FLOAT16 = 2.0**-8

# How the remark of an agreement begins that says nothing.
ZERO = "nothing was compared"

ORDER: tuple[Verdict, ...] = ("equal", "rounding", "differs", "failed")


def image_scale(reference: Tensor) -> Tensor:
    """max |reference| of each image's map, (n,); of the batch where an image's map is all zero.

    Of its finite values.

    >>> image_scale(torch.tensor([[-2.0, 1.0], [0.0, 0.0]])).tolist()
    [2.0, 2.0]
    """
    largest = reference.nan_to_num(0, 0, 0).flatten(1).abs().amax(1).double()
    return torch.where(
        largest > 0, largest, largest.max().clamp(min=torch.finfo(torch.float64).tiny)
    )


def gaps(output: Tensor, reference: Tensor, scale: Tensor | float) -> Tensor:
    """max |output - reference| / scale of each image, (n,); infinite where one is not finite.

    0 where both are NaN, or the same infinity. `output` and `reference` have the same shape
    (n, ...), `scale` is a number or (n,).
    """
    difference = (output.double() - reference.double()).abs()
    same = (output == reference) | (output.isnan() & reference.isnan())
    difference = difference.masked_fill(same, 0)
    return difference.nan_to_num(nan=torch.inf, posinf=torch.inf).flatten(1).amax(1) / scale


def verdict(gap: float, noise: float, *, exact: bool) -> Verdict:
    """equal if bit-equal (`exact`) or within 1e-9; rounding within 8 noise floors; else differs.

    >>> verdict(1e-12, 1e-7, exact=False), verdict(5e-7, 1e-7, exact=False)
    ('equal', 'rounding')
    """
    if exact or gap <= EQUAL:
        return "equal"
    return "rounding" if gap <= MULTIPLE * noise else "differs"


def judge(
    output32: Tensor,
    output64: Tensor,
    reference32: Tensor,
    reference64: Tensor,
    *,
    noise: float,
    scale: Callable[[Tensor], Tensor | float] = image_scale,
    known_cause: Callable[[], str] = str,
    nothing: Callable[[Tensor], Tensor] | None = None,
    direction: Direction | None = None,
) -> Agreement:
    """The agreement of one implementation with the reference, from both outputs in both precisions.

    All outputs are (n, ...). `noise` is the measured noise floor (see `noise_floor`), `scale` says
    what gaps are relative to. `known_cause()` is asked where they differ and nothing simpler
    explains it. `nothing(output)` says for which images, (n,), there is nothing in an output: where
    that is so in both, the remark says that they agree on nothing. `direction` is given where both
    outputs in float32 are rather of 16 bits: rank and cosine then decide in place of the gap.
    """
    if output64.shape != reference64.shape:
        shapes = f"{tuple(output64.shape)}, the reference's {tuple(reference64.shape)}"
        cause = f"the output has shape {shapes}"
        return Agreement("differs", torch.inf, "differs", torch.inf, noise, len(reference64), cause)
    floor32 = max(noise, FLOAT32)
    floor64 = min(floor32, FLOAT64_NOISE)
    each64 = gaps(output64, reference64, scale(reference64))
    each32 = gaps(output32, reference32, scale(reference32))
    gap64, gap32 = float(each64.max()), float(each32.max())
    verdict64 = verdict(gap64, floor64, exact=torch.equal(output64, reference64))
    exact32 = torch.equal(output32, reference32)
    near = gap32 <= MULTIPLE * floor32 if direction is None else alike(direction)
    verdict32: Verdict = "equal" if exact32 else "rounding" if near else "differs"
    beyond = int((each64 > max(EQUAL, MULTIPLE * floor64)).sum())
    if verdict64 == "differs":
        cause = explain(output64, reference64) or known_cause()
    else:
        cause = _remark(output64, reference64, nothing)
    return Agreement(verdict64, gap64, verdict32, gap32, floor32, beyond, cause, direction)


def directed(output: Tensor, reference: Tensor, exact: Tensor) -> Direction:
    """Rank and cosine of two outputs (n, ...) in 16 bits with the reference in float64, `exact`.

    >>> exact = torch.tensor([[1.0, 2.0, 4.0]]).double()
    >>> found = directed(-exact, exact.bfloat16(), exact)
    >>> found.rank, round(found.cosine, 6), found.reference_rank
    (-1.0, -1.0, 1.0)
    """
    return Direction(*_alike(output, exact), *_alike(reference, exact))


def _alike(output: Tensor, exact: Tensor) -> tuple[float, float]:
    """Rank correlation and cosine, the least of all images; of two that are all zero 1."""
    output, exact = output.flatten(1).double(), exact.flatten(1).double()
    along = cosine(output, exact)
    ranked = spearman(ranks(output), ranks(exact))
    same = ~(output.any(1) | exact.any(1))
    along = torch.where(same, 1.0, along.nan_to_num(0.0))
    ranked = torch.where(ranked.isnan(), along.to(ranked), ranked)  # of constants there is no rank
    return round(float(ranked.min()), 9), round(float(along.min()), 9)


def alike(direction: Direction) -> bool:
    """Whether an implementation is turned no further than 8 times what turns the reference.

    >>> alike(Direction(0.9, 0.95, 0.95, 0.99)), alike(Direction(-0.9, -0.95, 0.95, 0.99))
    (True, False)
    """
    floors = 1 - direction.reference_rank, 1 - direction.reference_cosine
    gaps = 1 - direction.rank, 1 - direction.cosine
    return all(
        gap <= MULTIPLE * max(floor, FLOAT16) for gap, floor in zip(gaps, floors, strict=True)
    )


def _remark(output: Tensor, reference: Tensor, nothing: Callable[[Tensor], Tensor] | None) -> str:
    """What to know of two outputs that agree: what is not finite, or empty, in both; else ""."""
    bad = ~(reference.isfinite() & output.isfinite()).flatten(1).all(1)
    if bool(bad.any()):
        return f"both have values that are not finite, on images {bad.nonzero()[:, 0].tolist()}"
    if nothing is None:
        return ""
    empty = nothing(output) & nothing(reference)
    zero = empty & ~reference.flatten(1).any(1)
    if bool(empty.all()):
        what = "are zero everywhere" if bool(zero.all()) else "leave every image as it is"
        return f"{ZERO}: both {what}"
    return f"both are zero on images {zero.nonzero()[:, 0].tolist()}" if bool(zero.any()) else ""


def noise_floor(
    reference32: Tensor,
    reference64: Tensor,
    scale: Callable[[Tensor], Tensor | float] = image_scale,
) -> float:
    """The reference's own rounding: the largest gap between it in float32 and in float64."""
    return float(gaps(reference32, reference64, scale(reference64)).max())


def explain(output: Tensor, reference: Tensor) -> str:
    """The simplest thing that explains a difference: values not finite, a factor, the sign.

    "" where none of them does. `output` and `reference` are (n, ...), in float64.

    >>> explain(torch.tensor([[2.0, 4.0]]), torch.tensor([[1.0, 2.0]]))
    'it is 2 times the reference'
    """
    bad = int((~output.isfinite()).flatten(1).any(1).sum())
    if bad:
        return f"{bad} of {len(output)} images have values that are not finite"
    square = float(reference.square().sum())
    if not square:
        return ""
    factor = float((output * reference).sum()) / square
    remainder = float((output - factor * reference).abs().max()) / max(
        float(output.abs().max()), 1e-300
    )
    if remainder <= FLOAT64_NOISE and abs(factor - 1) > FLOAT64_NOISE:
        return (
            "it has the opposite sign"
            if abs(factor + 1) <= FLOAT64_NOISE
            else f"it is {factor:.6g} times the reference"
        )
    return ""
