"""The print of an output: four sums by which it is recognised again without being stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Irrational numbers, whose multiples are spread evenly over [0, 1).
FACTORS = (0.6180339887498949, 0.7548776662466927, 0.5698402909980532, 0.4142135623730951)
DEFINITION = "sum_i v_i * (frac(i * c) - 0.5) for each factor c, i = 1, 2, ... the place in C order"
SAME = 1e-5  # of the output's L2 norm: what float32 leaves of a print


def printed(output: NDArray[Any], x: NDArray[Any], *, attack: bool) -> NDArray[Any]:
    """What of an output is printed: of an attack its perturbation, which may be small."""
    return output - x if attack and output.shape == x.shape else output


def print_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """The four sums of an output of any shape."""
    flat = values.astype(np.float64).ravel()
    places = np.arange(1, len(flat) + 1)
    return np.array([(flat * (places * factor % 1 - 0.5)).sum() for factor in FACTORS])


def size_of(values: NDArray[Any]) -> float:
    """The L2 norm, which differences of prints are relative to."""
    return max(float(np.sqrt(np.square(values.astype(np.float64)).sum())), 1e-300)
