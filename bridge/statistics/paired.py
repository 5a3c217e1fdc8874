"""Methods on the same images: paired tests with Holm's correction, mean ranks, Friedman's test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Ranked:
    """The mean rank of each method, from 1 (the smallest value), and Friedman's test of them all.

    `p` and `statistic` are NaN for fewer than three methods, or where nothing differs.
    """

    ranks: dict[str, float]
    images: int
    statistic: float
    p: float


def complete(wide: pd.DataFrame) -> pd.DataFrame:
    """The images (rows) that have a value of every method (column); infinity is a value."""
    return wide.dropna()


def wilcoxon(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """p of Wilcoxon's signed-rank test, two-sided, of pairs (n,); images that tie are left out.

    Infinity stands for "more than was measured": against a number it is a difference larger than
    any other, against itself none. 1 where every pair ties. NaN for no pairs. By scipy.

    >>> round(wilcoxon([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]), 5)
    0.03125
    """
    from scipy import stats

    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not len(first):
        return math.nan
    with np.errstate(invalid="ignore"):
        gaps = np.where(first == second, 0.0, first - second)
    gaps = gaps[gaps != 0]
    return float(stats.wilcoxon(gaps).pvalue) if len(gaps) else 1.0


def mcnemar(only_a: int, only_b: int) -> float:
    """p of McNemar's exact test: images that only a fools against those that only b does.

    2 * P(X <= min(a, b)), X of Binomial(a + b, 1/2), at most 1. By statsmodels.

    >>> mcnemar(0, 5)
    0.0625
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    if only_a + only_b == 0:
        return 1.0
    return float(test([[0, only_a], [only_b, 0]], exact=True).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction of p values that are looked at together; those that are NaN stay it.

    The i-th smallest of m times m - i + 1, never falling, at most 1 (Holm 1979). Written out, since
    statsmodels' collects all garbage at each call: a third of a second.

    >>> [round(value, 6) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    found = np.array(p, np.float64)
    known = np.flatnonzero(np.isfinite(found))
    order = known[found[known].argsort(kind="stable")]
    grown = found[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(grown), 1)
    return [float(value) for value in found]


def compared(wide: pd.DataFrame) -> pd.DataFrame:
    """Every two columns of `wide` (images x methods) by Wilcoxon, Holm-corrected together.

    A row a pair: `a`, `b`, `images` that have both, the share of them where a is `larger` and where
    b is (`smaller`), the `median` of a - b, `p`, `p_holm`.
    """
    rows = []
    for a, b in itertools.combinations(wide.columns, 2):
        both = complete(wide[[a, b]]).to_numpy(np.float64)
        first, second = both[:, 0], both[:, 1]
        with np.errstate(invalid="ignore"):
            gaps = np.where(first == second, 0.0, first - second)
        n = len(both)
        rows.append(
            {
                "a": a,
                "b": b,
                "images": n,
                "larger": float((gaps > 0).mean()) if n else math.nan,
                "smaller": float((gaps < 0).mean()) if n else math.nan,
                "median": float(np.median(gaps)) if n else math.nan,
                "p": wilcoxon(first, second),
            }
        )
    columns = ["a", "b", "images", "larger", "smaller", "median", "p"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(p_holm=holm(found["p"].tolist()))


def ranked(wide: pd.DataFrame) -> Ranked:
    """Mean rank of each column of `wide` (images x methods), over images that have them all.

    Ties share the mean of their ranks; infinity ranks last. Friedman's chi-squared, by scipy.

    >>> ranked(pd.DataFrame({"a": [1, 2], "b": [3, 4], "c": [5, 6]})).ranks
    {'a': 1.0, 'b': 2.0, 'c': 3.0}
    """
    from scipy import stats

    whole = complete(wide).to_numpy(np.float64)
    names = [str(name) for name in wide.columns]
    if not len(whole):
        return Ranked(dict.fromkeys(names, math.nan), 0, math.nan, math.nan)
    ranks = stats.rankdata(whole, axis=1)
    means = dict(zip(names, map(float, ranks.mean(0)), strict=True))
    statistic = p = math.nan
    if len(names) > 2 and bool((ranks != ranks[:, :1]).any()):
        statistic, p = map(float, stats.friedmanchisquare(*whole.T))
    return Ranked(means, len(whole), statistic, p)
