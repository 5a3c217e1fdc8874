"""On which images implementations are held against the reference."""

from __future__ import annotations

from typing import Any

from bridge.core.method import Method
from bridge.core.parameters import check_whole
from bridge.fused.planning import Plan, plan
from bridge.study.request import Request

FEWEST = 2
# More are not judged unless they are asked for: a library may hold all steps of all images at once,
# and memory would grow with the batch.
MOST = 16
# So few images are all judged: a sample of them would save less than half of the time.
FEW = 4
# An implementation runs once as it is, and once in float64, where a pass takes about twice as long.
PROOF = 3


def sample(judged: Any, request: Request, x: Any) -> tuple[int, ...] | None:
    """The places of the images (n, c, h, w) that are judged, spread over the batch; None for all.

    `judged` says how many: a number, "all", or None for as many as keep the proof's passes below
    the results' own, two to sixteen, and all of up to four. It depends on passes, not on seconds,
    so that it is the same on every machine. Raises TypeError or ValueError for anything else.
    """
    images = len(x)
    if isinstance(judged, str):
        if judged != "all":
            raise ValueError(f"unknown judged {judged!r}: expected 'all', or how many images")
        return None
    if judged is None and images <= FEW:
        return None
    count = affordable(request, x) if judged is None else check_whole("judged", judged, 0)
    if count >= images:
        return None
    return tuple(images * k // count for k in range(count))


def affordable(request: Request, x: Any) -> int:
    """How many images can be judged in the passes that the results take, two to sixteen."""
    results = proof = 0
    for method in request.methods:
        one = max(1, sum(alone(request, method, x).passes))
        results += one
        proof += PROOF * one * len(request.by_name(method))
    return min(MOST, max(FEWEST, len(x) * results // max(1, proof)))


def alone(request: Request, method: Method, x: Any) -> Plan:
    """The plan of one method at all its epsilons."""
    return plan({method.name: request.whole(method)}, x, predict=False)
