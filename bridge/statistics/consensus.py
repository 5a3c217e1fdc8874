"""How far attributions agree on one image: its mean rank correlation over pairs of methods."""

from __future__ import annotations

import pandas as pd


def by_method(pairs: pd.DataFrame) -> pd.DataFrame:
    """Images x methods: the mean rank correlation of a method's map with all others' on the image.

    `pairs` has a row an image and pair: `id`, `a`, `b`, `spearman`.
    """
    sides = [
        pairs[["id", mine, "spearman"]].rename(columns={mine: "method"}) for mine in ("a", "b")
    ]
    both = pd.concat(sides, ignore_index=True)
    wide = both.groupby(["id", "method"], sort=False)["spearman"].mean().unstack("method")
    order = dict.fromkeys([*pairs["a"].unique(), *pairs["b"].unique()])
    return wide[list(order)] if len(pairs) else wide


def by_image(pairs: pd.DataFrame) -> pd.Series:
    """By id the mean rank correlation over all pairs, of images that have all, lowest first."""
    known = pairs[pairs["spearman"].notna()]
    found = known.groupby("id", sort=False)["spearman"].agg(["mean", "size"])
    whole = found.loc[found["size"] == found["size"].max(), "mean"]
    return whole.sort_values(kind="stable")


def most_and_least(pairs: pd.DataFrame, n: int) -> tuple[list[str], list[str]]:
    """The ids of up to `n` images whose maps agree most, and least; none is both."""
    ordered = by_image(pairs)
    n = min(n, len(ordered) // 2)
    return [str(i) for i in ordered.index[::-1][:n]], [str(i) for i in ordered.index[:n]]


def apart(pairs: pd.DataFrame, n: int) -> pd.DataFrame:
    """Of each pair of methods the image where they disagree most; the `n` farthest, no image twice.

    Columns `id`, `a`, `b`, `spearman`.
    """
    lowest = pairs[pairs["spearman"].notna()].sort_values("spearman", kind="stable")
    chosen: list[int] = []
    taken: set[tuple[str, str]] = set()
    images: set[str] = set()
    pairs_known = len(lowest[["a", "b"]].drop_duplicates())
    for place, (i, a, b) in enumerate(zip(lowest["id"], lowest["a"], lowest["b"], strict=True)):
        if (a, b) in taken or i in images:
            continue
        taken.add((a, b))
        images.add(i)
        chosen.append(place)
        if len(chosen) == n or len(taken) == pairs_known:
            break
    return lowest.iloc[chosen][["id", "a", "b", "spearman"]].reset_index(drop=True)
