"""What a wrong output is instead, from the vectors alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bridge.vectors.prints import SAME, print_of, printed, size_of
from bridge.vectors.read import Array, Told

EXPLAINED = 1e-6
NEARLY = 1e-4
SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1))


def scales(expected: Array, *, attack: bool) -> Array:
    """What each image's gap is relative to."""
    if attack:
        return np.ones(len(expected))
    largest = np.abs(expected).reshape(len(expected), -1).max(1)
    return np.where(largest > 0, largest, max(float(largest.max()), 1e-300))


def gap(output: Array, expected: Array, scale: Array) -> float:
    """The largest gap of an image; infinite for another shape, or values that are not finite."""
    if output.shape != expected.shape or not np.isfinite(output).all():
        return float("inf")
    difference = np.abs(output.astype(np.float64) - expected).reshape(len(expected), -1)
    return float((difference.max(1) / scale).max())


def unfit(output: Array, expected: Array) -> str:
    """Why an output cannot be compared at all, "" where it can."""
    if output.dtype not in (np.float64, np.float32):
        return f"it is {output.dtype}, expected float64 or float32"
    if output.size and not np.isfinite(output).all():
        images = np.atleast_1d(output)
        bad = (~np.isfinite(images)).reshape(len(images), -1).any(1)
        return f"{int(bad.sum())} of {len(images)} images have values that are not finite"
    if output.shape != expected.shape:
        return f"it has shape {output.shape}, expected {expected.shape}"
    return ""


def causes(told: Told, case: Mapping[str, Any], output: Array) -> list[str]:
    """What explains an output that is wrong, the simplest first; empty where nothing known does."""
    expected = told.tensor(case, "expected")
    x = told.images[case["network"]]
    if output.dtype.kind not in "fiu" or not np.isfinite(output).all():
        return []
    values = output.astype(np.float64)
    found = [told.mistakes[case["wrong"][row]] for row in _known(told, case, values)]
    if not found and values.shape == expected.shape:
        found = list(_changed(values, expected, x, attack=told.attack))
        if not found and output.dtype == np.float64:
            found = list(_nearly(values, expected, scales(expected, attack=told.attack)))
    return found or list(_rearranged(values, expected))


def _known(told: Told, case: Mapping[str, Any], values: Array) -> list[int]:
    """The wrong answers with this output's print."""
    values = printed(values, told.images[case["network"]], attack=told.attack)
    apart = np.abs(told.tensor(case, "wrong") - print_of(values)).max(1, initial=0)
    return list(np.flatnonzero(apart <= SAME * size_of(values)))


def _changed(values: Array, expected: Array, x: Array, *, attack: bool) -> Iterator[str]:
    """Of the right shape: clipped, scaled, shifted."""
    scale = scales(expected, attack=attack)
    if attack and gap(values.clip(0, 1), expected, scale) <= EXPLAINED:
        yield "it is not clipped to [0, 1]"
    if attack and gap(values / 255, expected, scale) <= 1 / 255:
        yield "its pixels are in 0..255"
    ours, theirs = (expected - x, values - x) if attack else (expected, values)
    factor = float((theirs * ours).sum() / max(float(np.square(ours).sum()), 1e-300))
    largest = max(float(np.abs(theirs).max()), 1e-300)
    exact = np.abs(theirs - factor * ours).max() <= EXPLAINED * largest
    if exact and factor and abs(factor - 1) > NEARLY:
        what = "the right perturbation" if attack else "the right answer"
        yield f"it is {what} times a constant factor"
    for down, right in SHIFTS if expected.ndim == 4 else ():
        if _shifted(values, expected, scale, (down, right)):
            yield f"it is shifted by {down} rows and {right} columns"


def _shifted(values: Array, expected: Array, scale: Array, by: tuple[int, int]) -> bool:
    """Judged where both have pixels."""
    sides = list(zip(by, expected.shape[2:], strict=True))
    rows, columns = (slice(max(d, 0), side + min(d, 0)) for d, side in sides)
    our_rows, our_columns = (slice(max(-d, 0), side + min(-d, 0)) for d, side in sides)
    theirs, ours = values[..., rows, columns], expected[..., our_rows, our_columns]
    return gap(theirs, ours, scale) <= EXPLAINED


def _nearly(values: Array, expected: Array, scale: Array) -> Iterator[str]:
    if gap(values, expected, scale) <= NEARLY:
        yield "it is nearly right: float32 somewhere inside, or a small constant in a denominator"


def _rearranged(values: Array, expected: Array) -> Iterator[str]:
    """The right numbers in other places."""
    if expected.ndim == 4:
        last = expected.transpose(0, 2, 3, 1)
        swapped = expected.transpose(0, 1, 3, 2)
        for sentence, other in (
            ("its channels are last, (n, h, w, c)", last),
            ("its rows and columns are swapped", swapped),
            ("its channels are in reverse order", expected[:, ::-1]),
            ("its images are in reverse order", expected[::-1]),
            ("its channels are last in memory, (n, h, w, c)", last.reshape(expected.shape)),
            ("its rows and columns are swapped in memory", swapped.reshape(expected.shape)),
        ):
            if _same(values, other):
                yield sentence
    if values.shape != expected.shape and _same(values.ravel(), expected.ravel()):
        yield "the numbers are right, the shape is not"


def _same(values: Array, other: Array) -> bool:
    within = EXPLAINED * max(float(np.abs(other).max()), 1e-300)
    return values.shape == other.shape and float(np.abs(values - other).max()) <= within
