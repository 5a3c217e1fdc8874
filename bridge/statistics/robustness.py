"""What attacks leave: accuracy under each, smallest fooling sizes, the worst case, curves.

`images` has a row an image (`id`, `right`, ...), `attacks` a row an image, attack and epsilon
(`id`, `method`, `norm`, `epsilon`, `fooled`, `linf`, `l2`, ...). `epsilon` is NaN for attacks that
look for the smallest perturbation by themselves; `fooled`: the clean image was right, and now it is
wrong. Accuracy counts all images, success those that the model gets right.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from bridge.statistics.intervals import wilson

WORST = "worst case"
CELL = ["norm", "method", "epsilon"]
POINTS = 12  # of a curve that no epsilon of the study gives points to


def with_right(images: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """The rows of `attacks` with `right` of their image, False where the image has no row."""
    right = attacks["id"].map(images.set_index("id")["right"])
    return attacks.assign(
        right=right.eq(True).to_numpy(bool), fooled=attacks["fooled"].astype(bool)
    )


def share(
    frame: pd.DataFrame, hits: pd.Series, among: pd.Series, name: str = "share"
) -> pd.DataFrame:
    """`frame` with a share and its Wilson interval: `name`, `name`_low and `name`_high."""
    low, high = wilson(hits, among)
    values = np.where(among > 0, hits / among.where(among > 0, 1), np.nan)
    return frame.assign(**{name: values, f"{name}_low": low, f"{name}_high": high})


def accuracies(
    images: pd.DataFrame, attacks: pd.DataFrame, by: Sequence[str] = CELL
) -> pd.DataFrame:
    """Of each norm, method and epsilon what is left, and what it fools, with Wilson's intervals.

    `by` are the columns of `attacks` that make a group, where it is another one.
    `images`, `right` (classified right before), `fooled`; `accuracy` = (right - fooled) / images,
    `success` = fooled / right, each with its ends `_low` and `_high`.
    """
    rows = with_right(images, attacks)
    counts = (
        rows.groupby(list(by), sort=False, dropna=False)
        .agg(images=("id", "size"), right=("right", "sum"), fooled=("fooled", "sum"))
        .reset_index()
    )
    counts = share(counts, counts["right"] - counts["fooled"], counts["images"], "accuracy")
    return share(counts, counts["fooled"], counts["right"], "success")


def sizes(attacks: pd.DataFrame, norm: str) -> pd.Series:
    """How large each row's change is in `norm`: its epsilon where that bounds it, else measured."""
    measured = attacks["linf" if norm == "linf" else "l2"].astype(float)
    own = (attacks["norm"] == norm) & attacks["epsilon"].notna()
    return measured.mask(own, attacks["epsilon"])


def smallest(images: pd.DataFrame, attacks: pd.DataFrame, norm: str) -> pd.DataFrame:
    """The smallest size at which each attack of `norm` fools each image, images x methods.

    Images that the model gets right. Of attacks with epsilons the smallest that was run, of others
    the size that they found; infinity where the attack never fooled it, NaN where it was not run.
    """
    rows = with_right(images, attacks[attacks["norm"] == norm])
    rows = rows[rows["right"]]
    size = sizes(rows, norm).where(rows["fooled"], np.inf)
    found = rows.assign(size=size).groupby(["id", "method"], sort=False)["size"].min()
    wide = found.unstack("method")
    return wide[list(rows["method"].unique())] if len(rows) else wide


def least(images: pd.DataFrame, attacks: pd.DataFrame, norm: str) -> pd.Series:
    """By id the smallest size in `norm` of any image, by any attack, that fools; else infinity.

    An image by an attack in another norm counts with its measured size: where it lies in the ball
    it is an adversarial example of that ball too. Images that the model gets right.
    """
    rows = with_right(images, attacks)
    rows = rows[rows["right"]]
    return sizes(rows, norm).where(rows["fooled"], np.inf).groupby(rows["id"], sort=False).min()


def worst_case(images: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """Accuracy where every image meets the attack that is worst for it, a row a norm and epsilon.

    Fooled is an image for which any attack of the study returned one in that ball that fools (see
    `least`). Only images on which every attack of this norm and epsilon ran count: `images`, of
    which `right`, of which `fooled`; `accuracy` with Wilson's ends. `best` is the attack that fools
    most of them by itself, `best_accuracy` what it leaves, `together` the images that it does not
    fool and another does, `left_out` the images where an attack is missing.
    """
    columns = ["norm", "epsilon", "attacks", "images", "right", "fooled", "left_out"]
    rows = []
    sized = with_right(images, attacks[attacks["epsilon"].notna()])
    for norm, of_norm in sized.groupby("norm", sort=False):
        nearest = least(images, attacks, str(norm))
        for epsilon, cell in of_norm.groupby("epsilon"):
            methods = cell["method"].nunique()
            times = cell.groupby("id")["method"].nunique()
            whole = times.index[times == methods]
            there = cell[cell["id"].isin(whole)]
            right = there.loc[there["right"], "id"].unique()
            fooled = int((nearest.reindex(right) <= epsilon).sum())
            alone = there.groupby("method", sort=False)["fooled"].sum()
            rows.append(
                {
                    **dict(zip(columns, (norm, epsilon, methods, len(whole)), strict=False)),
                    "right": len(right),
                    "fooled": fooled,
                    "left_out": len(times) - len(whole),
                    "best": str(alone.idxmax()) if len(alone) else "",
                    "best_fooled": int(alone.max()) if len(alone) else 0,
                }
            )
    found = pd.DataFrame(rows, columns=[*columns, "best", "best_fooled"])
    found = share(found, found["right"] - found["fooled"], found["images"], "accuracy")
    found["best_accuracy"] = (found["right"] - found["best_fooled"]) / found["images"].clip(lower=1)
    return found.assign(together=found["fooled"] - found["best_fooled"]).drop(columns="best_fooled")


def curves(images: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """Accuracy over epsilon, a row a point: `norm`, `method`, `epsilon`, `accuracy`, its ends.

    Each attack from the clean accuracy at 0 on; "worst case" is all of them image by image. An
    attack without epsilons leaves at each size the images whose smallest fooling size is larger.
    """
    points = [_clean(images, attacks)]
    sized = accuracies(images, attacks[attacks["epsilon"].notna()])
    points.append(sized)
    worst = worst_case(images, attacks)
    several = worst.groupby("norm")["attacks"].transform("max") > 1
    for (norm, method), rows in attacks[attacks["epsilon"].isna()].groupby(
        ["norm", "method"], sort=False
    ):
        grid = np.sort(sized.loc[sized["norm"] == norm, "epsilon"].unique())
        points.append(_of_minimal(images, rows, (norm, method), grid))
    points.append(worst[several].assign(method=WORST))
    wanted = ["norm", "method", "epsilon", "images", "accuracy", "accuracy_low", "accuracy_high"]
    found = pd.concat([each[wanted] for each in points if len(each)], ignore_index=True)
    clean = found[found["method"] == ""].drop(columns=["norm", "method"])
    found = found[found["method"] != ""]
    starts = found[["norm", "method"]].drop_duplicates().merge(clean, how="cross")
    found = pd.concat([starts, found], ignore_index=True)
    ordered = {key: i for i, key in enumerate(zip(starts["norm"], starts["method"], strict=True))}
    place = [ordered[key] for key in zip(found["norm"], found["method"], strict=True)]
    found = found.assign(place=place).sort_values(["place", "epsilon"], kind="stable")
    return found.drop(columns="place").reset_index(drop=True)


def _clean(images: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """The point at epsilon 0: the images that were attacked, as they are."""
    attacked = images[images["id"].isin(attacks["id"].unique())]
    right = int(attacked["right"].astype(bool).sum())
    row = pd.DataFrame(
        {"norm": [""], "method": [""], "epsilon": [0.0], "images": [len(attacked)], "right": right}
    )
    return share(row, row["right"], row["images"], "accuracy")


def _of_minimal(
    images: pd.DataFrame, rows: pd.DataFrame, key: tuple[Hashable, Hashable], grid: np.ndarray
) -> pd.DataFrame:
    """The curve of an attack that looks for the smallest size, at the sizes of `grid`."""
    norm, method = map(str, key)
    found = smallest(images, rows, norm)
    distance = found[method].to_numpy(float) if len(found) else np.zeros(0)
    finite = distance[np.isfinite(distance)]
    if not len(grid) and len(finite):
        grid = np.unique(np.quantile(finite, np.linspace(0, 1, POINTS)))
    n, right = rows["id"].nunique(), len(distance)
    fooled = [int((distance <= size).sum()) for size in grid]
    frame = pd.DataFrame(
        {"norm": norm, "method": method, "epsilon": grid, "images": n, "left": right}
    )
    return share(frame, frame["left"] - np.asarray(fooled, int), frame["images"], "accuracy")
