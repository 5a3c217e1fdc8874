"""What is finished of a run that goes on, part by part, so that a kill loses what is in hand only.

Each part is a run directory of its own, in a folder inside that of the run; the whole run replaces
them. Where it never came, `Record.load` puts the parts together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from bridge.record import store

if TYPE_CHECKING:
    from bridge.record.record import Record

# Who fills a table anew for each part says these of every one.
ONCE = {
    "predictions": ["image", "method", "implementation", "epsilon"],
    "failures": ["method", "implementation", "stage", "message"],
}


def place(folder: str | Path, number: int) -> Path:
    """Where a part of the run in a folder is."""
    return Path(folder) / store.UNFINISHED / f"{number:05}"


def listed(folder: str | Path) -> list[Path]:
    """The parts of an unfinished run, in order; none where there is the whole."""
    below = Path(folder) / store.UNFINISHED
    if (Path(folder) / store.CARD).exists() or not below.is_dir():
        return []
    found = sorted(each for each in below.iterdir() if re.fullmatch(r"\d{5,}", each.name))
    return [each for each in found if (each / store.CARD).is_file()]


def together(
    parts: Sequence[Record],
) -> tuple[dict[str, pd.DataFrame], Tensor, Tensor, dict[Any, Tensor], dict[str, Any]]:
    """Tables, images, labels, outputs and manifest of the run that parts are of.

    Raises ValueError where they are of several.
    """
    last = parts[-1]
    if len({part.manifest.get("id") for part in parts}) > 1:
        raise ValueError("it holds parts of several runs")
    frames = {}
    for name in dict.fromkeys(name for part in parts for name in part.tables):
        found = [part.tables[name] for part in parts if name in part.tables]
        filled = [frame for frame in found if len(frame)] or found[:1]
        frame = pd.concat(filled, ignore_index=True)
        frames[name] = frame.drop_duplicates(ONCE[name]) if name in ONCE else frame
    outputs = {key: output for part in parts for key, output in part.outputs.items()}
    return frames, last.x, last.labels, outputs, last.manifest
