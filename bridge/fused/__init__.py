"""The fast implementations: shared passes, chunks, epsilons in one batch, occlusion that computes only what changes.

`run_many(model, x, target, {method: params})` runs many methods with the fewest passes; `plan(...).explain()` says how. One
method alone is `bridge.run(method, ..., implementation="fused")`. A method's fused function stands in the method's own file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.fused.chunks import chunk_size
    from bridge.fused.minimal import Minimal, minimal_epsilon
    from bridge.fused.planning import Many, Plan, plan, run_many

_WHERE = {
    "Many": "planning", "Minimal": "minimal", "Plan": "planning", "chunk_size": "chunks", "minimal_epsilon": "minimal",
    "plan": "planning", "run_many": "planning",
}  # fmt: skip

__all__ = ["Many", "Minimal", "Plan", "chunk_size", "minimal_epsilon", "plan", "run_many"]


def __getattr__(name: str) -> Any:
    """On first use: the methods import their building blocks from this package, and the plan imports the methods."""
    if name not in _WHERE:
        raise AttributeError(f"module 'bridge.fused' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bridge.fused.{_WHERE[name]}"), name)
