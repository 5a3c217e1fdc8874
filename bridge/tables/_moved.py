"""How far the attacks of a comparison move the maps: computed once, for every table of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bridge.core.method import Method
from bridge.core.registry import get, methods
from bridge.metrics.robustness import Noise, looked, moved
from bridge.tables._evidence import Evidence
from bridge.tables._table import ROUNDING, Column

SPEARMAN = Column("spearman", format=".2f", span=(-1, 1), low=-1 - ROUNDING, high=1 + ROUNDING)


def moved_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """See `bridge.metrics.robustness`: each attack's largest epsilon.

    Of the attributions that need no passes of their own.
    """
    if "moved" not in evidence.found:
        evidence.found["moved"] = list(_rows(evidence))
    found: list[dict[str, Any]] = evidence.found["moved"]
    return found


def _rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    clean = {
        method.name: looked(output, evidence.x)
        for method, output in evidence.maps().items()
        if _cheap(method, evidence)
    }
    if not clean or not evidence.of("attack"):
        return
    wanted = {name: evidence.params.get(name, {}) for name in clean}
    noise = Noise(evidence.model, evidence.x, evidence.target, evidence.seed)
    for attack in dict.fromkeys(cell.method for cell in evidence.of("attack")):
        epsilon = max(
            (cell.epsilon for cell in evidence.cells if cell.method is attack),
            key=lambda size: size or 0,
        )
        attacked = evidence.chosen(attack, epsilon)
        if attacked is None or not bool(attacked.isfinite().all()):
            continue
        for row in moved(noise, attack, epsilon, attacked, clean, wanted):
            yield {"attack": attack.name, "epsilon": epsilon, **row}


def _cheap(method: Method, evidence: Evidence) -> bool:
    params = method.bind(evidence.params.get(method.name, {}))
    return method.fast is not None and not any(method.fast.passes(evidence.x, **params))


def is_control(attack: str) -> bool:
    """Whether an attack ignores the model, by its tag: the control of the others."""
    return attack in methods("attack") and get(attack).tags.control
