"""Transfer: do images that fool one model fool another one?"""

from __future__ import annotations

import pandas as pd

from bridge.statistics.robustness import CELL, share, with_right

NEEDED = ("transfer_right", "transferred")


def transfers(images: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """Of each norm, method and epsilon how many images fool the second model too.

    `attacks` says of each row whether the second model gets the clean image right
    (`transfer_right`) and whether the attacked one then fools it (`transferred`). Counted are the
    images that both models get right (`both`): `success` on the first, `transfer` on the second
    with Wilson's ends, and `given`, the share of those that fooled the first. No rows where
    nothing was transferred.
    """
    names = [*CELL, "both", "success", "transfer", "transfer_low", "transfer_high", "given"]
    if not set(NEEDED) <= set(attacks):
        return pd.DataFrame(columns=names)
    known = attacks[attacks["transferred"].notna()]
    rows = with_right(images, known)
    rows = rows[rows["right"] & rows["transfer_right"].astype(bool)]
    moved = rows["transferred"].astype(bool)
    counts = (
        rows.assign(moved=moved, through=moved & rows["fooled"])
        .groupby(CELL, sort=False, dropna=False)
        .agg(
            both=("id", "size"),
            fooled=("fooled", "sum"),
            moved=("moved", "sum"),
            through=("through", "sum"),
        )
        .reset_index()
    )
    counts = share(counts, counts["moved"], counts["both"], "transfer")
    counts["success"] = counts["fooled"] / counts["both"]
    counts["given"] = counts["through"] / counts["fooled"].where(counts["fooled"] > 0)
    return counts[names]
