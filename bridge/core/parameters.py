"""What values a parameter may take: stated once, in the signature of a method's reference.

    def pgd(model, x, labels, *, epsilon: LinfSize = 8 / 255, steps: Steps = 40, ...)

The engine checks every implementation's parameters against these, so that a library never gets a
budget that the reference would refuse; the checker varies parameters over `others`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, get_type_hints

import torch
from torch import Tensor


@dataclass(frozen=True)
class Domain:
    """The values of one parameter: numbers from `low` to `high` (finite), one of `choices`, ...

    `whole`: an integer. `pair`: also (h, w). `tensor`: also a tensor; `number=False`: only that.
    `optional`: also None. `unit` is for people. `others` are values away from the usual default,
    at which an implementation that ignores the parameter is found out.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    pair: bool = False
    tensor: bool = False
    number: bool = True
    optional: bool = False
    choices: tuple[Any, ...] = ()
    unit: str = ""
    others: tuple[Any, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Raise TypeError for another kind of value, ValueError for one outside the domain."""
        if value is None and self.optional:
            return
        if isinstance(value, Tensor):
            self._check_tensor(name, value)
            return
        if self.choices:
            if not any(value is choice or value == choice for choice in self.choices):
                raise ValueError(f"unknown {name} {value!r}: expected {self}")
            return
        if self.pair and isinstance(value, tuple | list):
            if len(value) != 2:
                raise ValueError(f"{name} is one number or (h, w), got {value!r}")
            for each in value:
                self._check_number(name, each, value)
            return
        self._check_number(name, value, value)

    def _check_tensor(self, name: str, value: Tensor) -> None:
        one = value.numel() == 1 and self.number and not self.choices
        if not (self.tensor or one):
            raise TypeError(f"{name} must be {self}, got a tensor of shape {tuple(value.shape)}")
        if value.is_meta or value.layout != torch.strided or value.is_nested:
            kind = "on the device meta" if value.is_meta else "sparse or nested"
            raise ValueError(f"{name} is {kind}, expected a dense tensor with numbers in it")
        plain = not (value.is_complex() or value.dtype == torch.bool)
        if not (one and plain) and not (plain and value.is_floating_point() != self.whole):
            kind = "whole numbers" if self.whole else "floating point"
            raise TypeError(f"{name} is a tensor of {value.dtype}, expected {kind}")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} contains NaN or infinity")
        if one:
            self._check_number(name, value.item(), value)

    def _check_number(self, name: str, value: Any, given: Any) -> None:
        if not self.number or isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be {self}, got {given!r}")
        if self.whole and not isinstance(value, Integral):
            raise TypeError(f"{name} must be {self}, got {given!r}")
        if not math.isfinite(value) or not self.low <= float(value) <= self.high:
            raise ValueError(f"{name} must be {self}, got {given!r}")

    def __str__(self) -> str:
        """What is expected, in words: "a whole number of 1 or more"."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        if not self.number:
            return "a tensor" + (" or None" if self.optional else "")
        words = "a whole number" if self.whole else "a finite number"
        if self.high < math.inf:
            words += f" from {self.low:g} to {self.high:g}"
        elif self.low > -math.inf:
            words += f" of {self.low:g} or more"
        words += f" ({self.unit})" if self.unit else ""
        words += ", or (h, w)" if self.pair else ""
        words += ", or a tensor" if self.tensor else ""
        return words + (", or None" if self.optional else "")


def check_seed(seed: Any) -> int:
    """A seed as a plain number. Raises TypeError for another kind, ValueError outside 0 to 2**63-1.

    >>> check_seed(0), check_seed(2**40)
    (0, 1099511627776)
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    if not 0 <= int(seed) < 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    return int(seed)


def check_whole(name: str, value: Any, low: int) -> int:
    """A count of `low` or more as a plain number. Raises TypeError or ValueError for all else.

    >>> check_whole("steps", 3, 1)
    3
    """
    Domain(low=low, whole=True).check(name, value)
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """A finite number above 0. Raises TypeError for another kind of value, ValueError for others.

    >>> check_positive("rate", 0.5)
    0.5
    """
    Domain().check(name, value)
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return float(value)


# What a plain annotation says by itself.
PLAIN = {bool: Domain(choices=(True, False)), int: Domain(whole=True), float: Domain()}


def domains(function: Callable[..., Any]) -> dict[str, Domain]:
    """The domain of each parameter that states one; a plain bool, int or float is a domain too."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # annotations that only exist for a type checker
        return {}
    found = {}
    for name, hint in hints.items():
        stated = [d for d in getattr(hint, "__metadata__", ()) if isinstance(d, Domain)]
        if stated:
            found[name] = stated[0]
        elif hint in PLAIN:
            found[name] = PLAIN[hint]
    return found


# The field's own words, with the units and limits that they have everywhere here.
_PIXELS = "in pixel units"
LinfSize = Annotated[float, Domain(low=0, unit=f"Linf, {_PIXELS}", others=(0.03, 3.0))]
L2Size = Annotated[float, Domain(low=0, unit=f"L2, {_PIXELS}", others=(0.3, 40.0))]
# Of attacks that look for a small perturbation by themselves: None leaves it as it was found.
SmallestSize = Annotated[float | None, Domain(low=0, optional=True, unit=_PIXELS, others=(0.2,))]
Steps = Annotated[int, Domain(low=1, whole=True, others=(3,))]
StepSize = Annotated[
    float | None, Domain(low=0, optional=True, unit=f"absolute, {_PIXELS}", others=(0.011,))
]
Restarts = Annotated[int, Domain(low=1, whole=True, others=(3,))]
Draw = Annotated[Tensor | None, Domain(number=False, tensor=True, optional=True)]
DrawnIndex = Annotated[
    Tensor | None, Domain(low=0, number=False, whole=True, tensor=True, optional=True)
]
GradientSteps = Annotated[int, Domain(low=1, whole=True, others=(5,))]
Samples = Annotated[int, Domain(low=1, whole=True, others=(9,))]
Stdev = Annotated[float, Domain(low=0, unit=f"absolute, {_PIXELS}", others=(0.4,))]
Baseline = Annotated[float | Tensor, Domain(tensor=True, unit=_PIXELS, others=(0.35,))]
Window = Annotated[
    int | tuple[int, int] | None,
    Domain(low=1, whole=True, pair=True, optional=True, unit="pixels", others=((4, 3), 5)),
]
Stride = Annotated[
    int | tuple[int, int] | None,
    Domain(low=1, whole=True, pair=True, optional=True, unit="pixels", others=(1, (2, 3))),
]
