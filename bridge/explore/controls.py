"""What can be moved of a method: its registered parameters, each as its Domain says.

Nothing here knows a method by its name: a new method's parameters appear by being registered.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

from bridge.core.method import Method
from bridge.core.parameters import Domain

ROOM = 4  # a slider goes to so many times the default
FAR = 8  # or, without a default, of what the checker tries
NOTCHES = 200
LEVELS = 255
QUARTERS = 4  # of a gray level


@dataclass(frozen=True)
class Control:
    """One parameter: a `switch`, a `choice` of `choices`, or a `number`.

    `low` to `high` is the slider's range, in steps of `step`; what is typed may lie beyond, as far
    as the Domain allows. `levels`: it is read as so many gray levels (8/255), 0 for no such thing.
    `optional`: None is a value, too ("left to the method"). `words` is what the Domain expects.
    """

    name: str
    kind: str
    default: Any
    words: str = ""
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    step: float = 0.01
    whole: bool = False
    optional: bool = False
    levels: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self)


def controls(method: Method, side: int, bounds: tuple[float, float]) -> list[Control]:
    """The controls of a method for images whose shorter side is `side`, within `bounds`.

    Parameters that only a tensor can be have none.
    """
    found = []
    for name, default in method.defaults.items():
        domain = method.domains.get(name)
        if domain is None or not domain.number:
            continue
        if domain.choices:
            kind = "switch" if set(domain.choices) == {True, False} else "choice"
            found.append(Control(name, kind, default, str(domain), domain.choices))
        elif default is None or isinstance(default, Real):
            low, high = _range(domain, default, side, bounds)
            levels = LEVELS if domain.unit.startswith("Linf") and bounds == (0, 1) else 0
            step = 1.0 if domain.whole else _round((high - low) / NOTCHES)
            step = 1 / levels / QUARTERS if levels else step
            found.append(
                Control(
                    name,
                    "number",
                    default,
                    str(domain),
                    low=low,
                    high=high,
                    step=step,
                    whole=domain.whole,
                    optional=domain.optional,
                    levels=levels,
                )
            )
    return found


def _range(
    domain: Domain, default: Any, side: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    if domain.tensor and not domain.whole and math.isinf(domain.high):
        return bounds  # a pixel's value
    low = domain.low if math.isfinite(domain.low) else 0.0
    if math.isfinite(domain.high):
        return low, domain.high
    tried = [v for v in domain.others if isinstance(v, Real) and not isinstance(v, bool)]
    high = ROOM * float(default or 0) or FAR * float(max(tried, default=1))
    if domain.pair:
        high = min(max(high, 2.0), float(side))  # a window is not larger than the image
    if domain.whole:
        high = max(high, low + ROOM)
    return low, high


def _round(step: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return min((k * power for k in (1.0, 2.0, 5.0, 10.0)), key=lambda each: abs(each - step))
