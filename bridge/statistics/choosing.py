"""Which images of fifty thousand to look at: fooled and unfooled ones at equal size."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bridge.statistics.robustness import accuracies, with_right


@dataclass(frozen=True)
class Contrast:
    """Images that an attack fooled and images that it did not, at one size, class by class."""

    method: str
    norm: str
    epsilon: float
    fooled: tuple[str, ...]
    unfooled: tuple[str, ...]


def contrasts(images: pd.DataFrame, attacks: pd.DataFrame, n: int) -> list[Contrast]:
    """Of each norm the attack and epsilon that fool closest to half, and up to `n` images of each.

    A class gives one fooled image, the one that the model was surest of, and one unfooled, the one
    that it was least sure of; the classes where the two are farthest apart come first.
    """
    sized = attacks[attacks["epsilon"] > 0]
    known = accuracies(images, sized)
    found = []
    for norm, cells in known[known["success"].notna()].groupby("norm", sort=False):
        place = (cells["success"] - 0.5).abs().idxmin()
        method, epsilon = cells.loc[place, "method"], float(cells.loc[place, "epsilon"])
        rows = sized[(sized["method"] == method) & (sized["epsilon"] == epsilon)]
        rows = rows[rows["norm"] == norm]
        fooled, unfooled = _apart(images, rows, n)
        found.append(Contrast(str(method), str(norm), epsilon, fooled, unfooled))
    return found


def _apart(
    images: pd.DataFrame, rows: pd.DataFrame, n: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    met = with_right(images, rows)[["id", "right", "fooled"]]
    sure = images[["id", "label", "confidence"]].merge(met[met["right"]], on="id")
    sure = sure.sort_values("confidence", kind="stable")
    fooled = sure[sure["fooled"]].drop_duplicates("label", keep="last").set_index("label")
    unfooled = sure[~sure["fooled"]].drop_duplicates("label").set_index("label")
    both = fooled.index.intersection(unfooled.index)
    gap = fooled.loc[both, "confidence"] - unfooled.loc[both, "confidence"]
    classes = list(gap.sort_values(ascending=False, kind="stable").index[:n])
    if not classes:  # every image is fooled, or none
        return tuple(fooled["id"][:n]), tuple(unfooled["id"][:n])
    return tuple(fooled.loc[classes, "id"]), tuple(unfooled.loc[classes, "id"])
