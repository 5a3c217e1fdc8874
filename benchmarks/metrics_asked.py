"""What the tables of metrics ask: which parameters, of how many images, and what is too dear."""

from __future__ import annotations

import itertools
from typing import Any

from metrics_cells import Cells

from bridge.metrics.registry import get

# What is asked otherwise than by default, and what for: the passes.
PARAMS: dict[str, dict[str, dict[str, Any]]] = {
    "cifar": {"max_sensitivity": {"samples": 4}, "infidelity": {"scaled": True}},
    "imagenet": {
        # A 14th of the pixels a step, half as many steps as RISE takes.
        **{name: {"step": 3584} for name in ("deletion", "insertion", "pixel_flipping")},
        "sensitivity_n": {"subsets": 16},
        "infidelity": {"samples": 6, "scaled": True},
        "max_sensitivity": {"samples": 4},
        "road": {"shares": (0.1, 0.3, 0.5)},
    },
}
METHODS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 16},
    "smooth_grad": {"n_samples": 10},
    "expected_gradients": {"n_samples": 10},
}
# The maps of most methods have no scale: what compares sums with logits is no contest of all.
UNRANKED = {"completeness_gap": "most methods promise no sum"}
DEAR = {"cifar": 10.0, "imagenet": 10.0}  # seconds of a core an image: dearer cells go no further
AGAIN = {"cifar": 20, "imagenet": 10}  # images whose methods explain again, where a metric asks it
FIRST, CHUNK = 2, 10  # images of the first chunk, which shows what is dear, and of the others


def chunks(count: int) -> dict[int, int]:
    """The first image of each chunk, and how many it has.

    >>> chunks(25)
    {0: 2, 2: 8, 10: 10, 20: 5}
    """
    starts = [start for start in (0, FIRST, *range(CHUNK, count, CHUNK)) if start < count]
    return {a: b - a for a, b in itertools.pairwise([*starts, count])}


def wanted(cells: Cells, name: str, method: str, metric: str, first: int) -> bool:
    """Whether a chunk is measured: the first always, others where that was there and not dear."""
    if not first:
        return True
    start = cells.get(method, metric, 0)
    dear = start is not None and (start.get("error") or start["seconds"] > DEAR[name])
    return not dear and ("explain" not in get(metric).needs or first < AGAIN[name])
