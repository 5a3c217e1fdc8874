"""How the size of an attack reads in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.core.epsilon import epsilon_text, stated
from bridge.tables._table import Column


def _shown(value: Any, row: Mapping[str, Any]) -> str:
    norm = row.get("norm")
    return "" if stated(value) is None and norm is None else epsilon_text(value, norm)


# Rows of attributions have none; where a row says its `norm`, it reads as people write it.
EPSILON = Column("epsilon", text=_shown, number=True, low=0)
