"""The smallest size that fools: its quartiles over the images, of each attack and of them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bridge.statistics.robustness import WORST, least
from bridge.statistics.robustness import smallest as by_image
from bridge.tables import Column, Frames, View, epsilon_text, plain, records
from bridge.tables.study._summary import METHOD, Results, summary_table

QUARTILES = (("quartile", 0.25), ("median", 0.5), ("upper", 0.75))
NEVER = "never"


def _size(value: Any, row: Mapping[str, Any]) -> str:
    if value is None or np.isnan(value):
        return ""
    return NEVER if np.isinf(value) else epsilon_text(value, row["norm"])


smallest = summary_table(
    "smallest",
    heading="Smallest size that fools",
    columns=[
        METHOD,
        Column("norm", key=True),
        Column("images", heading="images (right)", format=".0f", low=0, key=True),
        Column("fooled", format=".1%", low=0, high=1),
        Column("quartile", heading="25 %", format=".4g", text=_size, low=0),
        Column("median", format=".4g", text=_size, low=0),
        Column("upper", heading="75 %", format=".4g", text=_size, low=0),
    ],
    note=(
        "Of the images that the model gets right: by which size a quarter, half and three quarters "
        "are fooled. Attacks with epsilons: the smallest one run that fools; others: the size "
        "found. Worst case: any attack of the study, by the measured size of its change."
    ),
    order=40,
)


@smallest.computed
def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row an attack, and a row of all together, which has the least of any."""
    images, attacks = results.images, results.attacks
    for norm in attacks["norm"].unique():
        wide = by_image(images, attacks, str(norm))
        for method in wide:
            yield _row(str(norm), str(method), wide[method])
        if wide.shape[1] > 1:
            attacked = least(images, attacks, str(norm)).reindex(wide.index)
            yield _row(str(norm), WORST, attacked)


def _row(norm: str, method: str, sizes: pd.Series) -> dict[str, Any]:
    known = np.sort(sizes.dropna().to_numpy(float))
    n = len(known)
    # The size of an image, not between two: infinity has no middle.
    found = {name: float(known[max(0, int(np.ceil(q * n)) - 1)]) for name, q in QUARTILES if n}
    fooled = float(np.isfinite(known).mean()) if n else float("nan")
    return {"method": method, "norm": norm, "images": n, "fooled": fooled, **found}


@smallest.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """Every row."""
    return plain(smallest.columns, records(frame), smallest.note)
