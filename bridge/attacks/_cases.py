"""Test vectors of gradient attacks: what all have in common, in words and as parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bridge.core.tags import Trap

LOSS = (
    "g = d CE(logits, target) / d x, each image's own; targeted=true: target is the class to "
    "reach, and the step goes the other way. "
)
WALK = (
    "x_k+1 = clip(project(x_k + step_size * d(g))), `steps` times from x_0 = clip(start), or from "
    "x where there is no start; clip is to [0, 1]; the last iterate. "
)
RESTARTS = (
    "restarts: start has a leading axis of as many; each image keeps the end that fools the model "
    "(argmax is not the target; targeted: is), among equals that of the largest loss (targeted: "
    "least), then the first. "
)
IN_LINF = "d(g) = sign(g), sign(0) = 0; project: x + clamp(delta, -epsilon, epsilon)"
IN_L2 = (
    "d(g) = g / max(norm2(g), 1e-12), norms of each image; project: "
    "x + delta * min(1, epsilon / max(norm2(delta), 1e-12))"
)
BOTH_WAYS = ({"targeted": False}, {"targeted": True})
SIGN_ZERO = {
    "zero-gradient": Trap(
        "sign(0) = 0: the pixel stays", ("it takes sign(0) = 1: pixels without gradient move",)
    )
}
OWN_NORMS = {
    "norm-of-each-image": Trap(
        "norms are each image's own",
        (
            "it normalises by the norm of the whole batch",
            "it normalises by the batch's largest value",
            "it projects with the norm of the whole batch",
        ),
    )
}
UNCLIPPED_START = "it does not clip the start"
START = {"start-clipped": Trap("the start leaves the bounds and is clipped", (UNCLIPPED_START,))}
FROM_STARTS = (*BOTH_WAYS, {"targeted": False, "restarts": 2}, {"random_start": False})
LINF_CASE = {"epsilon": 0.125, "steps": 5, "step_size": 0.0625}
L2_CASE = {"epsilon": 0.75, "steps": 4, "step_size": 0.3125}


def each_with(
    common: Mapping[str, Any], params: Iterable[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    """Parameters of cases that have these in common."""
    return tuple({**common, **each} for each in params)
