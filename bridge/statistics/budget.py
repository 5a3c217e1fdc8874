"""Success over queries: how much a second or third attack adds, and what it costs in passes."""

from __future__ import annotations

import pandas as pd

from bridge.statistics.robustness import share, with_right


def passes(attacks: pd.DataFrame) -> pd.Series:
    """Passes of an image through the model, forwards and backwards together, row by row."""
    return attacks["forwards"].astype(float) + attacks["backwards"].astype(float)


def success_over_passes(images: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """Attacks of one norm and epsilon one after another, cheapest first: what they fool by then.

    A row an attack: its own mean `passes` an image and `alone`, the share that it fools; `spent`,
    the passes with those before it, and `success`, the share that any of them fools, with Wilson's
    ends. Of the images that the model gets right and on which all of these attacks ran: `right`.
    """
    rows = with_right(images, attacks)
    rows = rows.assign(passes=passes(rows))
    found = []
    for (norm, epsilon), cell in rows.groupby(["norm", "epsilon"], sort=False, dropna=False):
        there = cell[cell["right"]]
        fooled = there.groupby(["id", "method"])["fooled"].any().unstack("method")
        fooled = fooled.dropna().astype(bool)
        cost = cell.groupby("method", sort=False)["passes"].mean().sort_values(kind="stable")
        spent = 0.0
        any_of = pd.Series(False, index=fooled.index)
        for method in cost.index:
            if method not in fooled:
                continue
            spent += float(cost[method])
            any_of = any_of | fooled[method]
            found.append(
                {
                    "norm": norm,
                    "epsilon": epsilon,
                    "method": method,
                    "passes": float(cost[method]),
                    "alone": float(fooled[method].mean()) if len(fooled) else float("nan"),
                    "spent": spent,
                    "right": len(fooled),
                    "hits": int(any_of.sum()),
                }
            )
    names = ["norm", "epsilon", "method", "passes", "alone", "spent", "right", "hits"]
    frame = pd.DataFrame(found, columns=names)
    return share(frame, frame["hits"], frame["right"], "success").drop(columns="hits")
