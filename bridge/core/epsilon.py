"""The size of an attack: whether it was stated, and how it reads."""

from __future__ import annotations

import math
from typing import Any


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
