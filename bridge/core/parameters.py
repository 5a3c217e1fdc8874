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
        if self.choices:
            if not any(value is choice or value == choice for choice in self.choices):
                listed = ", ".join(map(repr, self.choices))
                raise ValueError(f"unknown {name} {value!r}: expected one of {listed}")
            return
        if isinstance(value, Tensor) and (self.tensor or value.numel() == 1):
            if not bool(torch.as_tensor(value).isfinite().all()):
                raise ValueError(f"{name} contains NaN or infinity")
            if value.numel() == 1 and self.number:
                self._check_number(name, float(value), value)
            return
        if self.pair and isinstance(value, tuple | list):
            if len(value) != 2:
                raise ValueError(f"{name} is one number or (h, w), got {value!r}")
            for each in value:
                self._check_number(name, each, value)
            return
        self._check_number(name, value, value)

    def _check_number(self, name: str, value: Any, given: Any) -> None:
        if not self.number or isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be {self}, got {given!r}")
        if self.whole and not isinstance(value, Integral):
            raise TypeError(f"{name} must be {self}, got {given!r}")
        if not math.isfinite(value) or not self.low <= float(value) <= self.high:
            raise ValueError(f"{name} must be {self}, got {given!r}")

    def __str__(self) -> str:
        """What is expected, in words: "a whole number of 1 or more"."""
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
