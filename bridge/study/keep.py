"""What is finished of a comparison goes to the disk as it goes, so that a kill loses little."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.record import parts
from bridge.study.comparison import Comparison
from bridge.tables import Evidence

KILL = "a kill"


def keeper(
    folder: str | Path,
    evidence: Evidence,
    compared: Callable[[Evidence, Evidence], Comparison],
) -> Callable[[], None]:
    """A function that writes as a part what `evidence` has gained since its last call.

    `compared(part, all)` makes the comparison of a part. Where nothing can be written, that is one
    failure, and nothing more is tried: what is computed is there all the same.
    """
    numbers = itertools.count()
    there: Any = {"cells": 0, "timed": 0, "judged": 0, "failures": 0}
    broken = False

    def keep() -> None:
        nonlocal broken
        new = {name: getattr(evidence, name)[count:] for name, count in there.items()}
        if broken or not any(new.values()):
            return
        there.update({name: len(getattr(evidence, name)) for name in there})
        part = replace(evidence, **new, stopped=KILL)
        try:
            place = parts.place(folder, next(numbers))
            compared(part, replace(evidence, stopped=KILL)).save(place, sync=False)
        except Exception as error:
            evidence.failed("", "", "keep", error)
            broken = True

    return keep
