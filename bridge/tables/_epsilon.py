"""How the size of an attack reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bridge.tables._table import Column


def stated(epsilon: Any) -> float | None:
    """An epsilon as tables keep it, where one that was not stated is None or NaN."""
    return None if epsilon is None or math.isnan(epsilon) else float(epsilon)


def epsilon_text(value: Any, norm: str | None) -> str:
    """An epsilon as people write it; "smallest" where the attack looked for it by itself.

    >>> epsilon_text(8 / 255, "linf"), epsilon_text(0.25, "l2"), epsilon_text(None, "l2")
    ('8/255', '0.25', 'smallest')
    """
    if stated(value) is None:
        return "smallest"
    steps = value * 255
    if norm == "linf" and abs(steps - round(steps)) < 1e-6:
        return f"{round(steps)}/255"
    return f"{value:.4g}"


def _shown(value: Any, row: Mapping[str, Any]) -> str:
    norm = row.get("norm")
    return "" if stated(value) is None and norm is None else epsilon_text(value, norm)


# Rows of attributions have none; where a row says its `norm`, it reads as people write it.
EPSILON = Column("epsilon", text=_shown, number=True, low=0)
