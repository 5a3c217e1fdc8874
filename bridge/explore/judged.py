"""The verdict lights, and what "save as run" saves: both are one comparison of one image.

Every implementation of the two methods that are seen is held against the reference, with the
parameters that are seen, as `bridge.compare` does it; that needs no knowledge of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bridge.explore.calls import CHUNK, threads_for
from bridge.explore.seen import Eye
from bridge.explore.view import View
from bridge.fused import chunk_size
from bridge.record.record import Record

NOTE = "explore"  # the key of the manifest that says what was seen
# `bridge.compare`, which lies above this package and is handed in.
Compare = Callable[..., Any]


def judged(view: View, eye: Eye, compare: Compare) -> Any:
    """The comparison of the view's image: a `Comparison`, its manifest says what was seen."""
    subject = eye.subject(view)
    chosen = [name for name in (view.attribution, view.attack) if name]
    labels = None if subject.label is None and not view.aims else torch.tensor([subject.attacked])
    with chunk_size(CHUNK), threads_for(subject.x):  # as in what is seen
        result = compare(
            subject.model,
            subject.x,
            labels,
            target=torch.tensor([subject.target]),
            methods=chosen,
            params={name: _stated(view, name) for name in chosen},
            repeats=1,
            timing_seconds=0.0,
            seed=view.seed,
            progress=False,
        )
    result.manifest["data"] = {"source": view.data, "images": 1}
    result.manifest[NOTE] = {"view": view.plain, "label": subject.label, **numbers(view, eye)}
    return result


def _stated(view: View, name: str) -> dict[str, Any]:
    """The parameters, an attack's own size among them: without it, all sizes would be compared."""
    given = view.given(name)
    if name == view.attack:
        given.setdefault("epsilon", view.attacks.defaults["epsilon"])
    return given


def numbers(view: View, eye: Eye) -> dict[str, Any]:
    """All numbers of a view, without its arrays."""
    found: dict[str, Any] = {"clean": eye.clean(view).facts}
    if view.attack:
        found["attacked"] = eye.attacked(view).facts
    if view.cover is not None:
        found["covered"] = eye.covered(view).facts
    return found


def lights(result: Record, matrix: Any) -> dict[str, Any]:
    """Of each method its implementations' verdicts, and what failed."""
    failures = result.failures[["method", "implementation", "message"]].to_dict("records")
    return {
        "verdicts": by_method(matrix),
        "failures": [each for each in failures if each["method"]],
    }


def by_method(matrix: Any) -> dict[str, Any]:
    """Of each method of a verdict matrix the implementations that have a verdict, with it."""
    return {
        method: {name: verdict for name, verdict in row.items() if verdict}
        for method, row in matrix.to_dict("index").items()
    }
