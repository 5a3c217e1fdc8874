"""Intervals of 95 %: of shares by Wilson, of means by the bootstrap."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

LEVEL = 0.95
RESAMPLES = 1000
# BCa needs a mean without each value in turn, n x n numbers; above it corrects less than is shown.
CORRECTED = 1000
BATCH = 4_000_000  # numbers that are resampled at once: 32 MB


def wilson(hits: Any, among: Any) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of the shares hits / among: both ends, each shaped as `hits`.

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n). NaN where `among` is 0.
    Raises ValueError for more hits than there are. Source: Wilson 1927, by statsmodels.

    >>> [round(float(end), 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    from statsmodels.stats.proportion import proportion_confint

    hits, among = np.broadcast_arrays(np.asarray(hits, float), np.asarray(among, float))
    if bool(((hits < 0) | (hits > among)).any()):
        raise ValueError("a share needs from 0 to as many hits as there are; check the counts")
    some = np.where(among > 0, among, 1)
    ends = proportion_confint(np.minimum(hits, some), some, alpha=1 - LEVEL, method="wilson")
    # The ends of nothing and of everything are 0 and 1 but for rounding.
    low, high = np.where(hits == 0, 0.0, ends[0]), np.where(hits == among, 1.0, ends[1])
    return np.where(among > 0, low, np.nan), np.where(among > 0, high, np.nan)


def mean_interval(values: Any, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap's 95 % interval of the mean of `values` (..., n): both ends, each (...).

    BCa (Efron 1987) of up to 1,000 values, by scipy; percentiles of more. 1,000 resamples drawn by
    `seed`, the same ones for every row. NaN for fewer than two values, of equal ones that value.

    >>> low, high = mean_interval([0.0, 1.0, 2.0, 3.0, 4.0])
    >>> bool(low < 2 < high)
    True
    """
    known = np.asarray(values, dtype=np.float64)
    n = known.shape[-1]
    if n < 2:
        return np.full(known.shape[:-1], np.nan), np.full(known.shape[:-1], np.nan)
    low, high = (_corrected if n <= CORRECTED else _percentiles)(known, np.random.default_rng(seed))
    same = (known == known[..., :1]).all(-1)
    return np.where(same, known[..., 0], low), np.where(same, known[..., 0], high)


def _corrected(values: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any]:
    from scipy.stats import bootstrap

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of rows that are all one value
        found = bootstrap(
            (values,),
            np.mean,
            axis=-1,
            n_resamples=RESAMPLES,
            batch=max(1, BATCH // values.size),
            vectorized=True,
            confidence_level=LEVEL,
            method="BCa",
            rng=rng,
        ).confidence_interval
    return found.low, found.high


def _percentiles(values: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any]:
    """As scipy's "percentile", fifty times as fast: a mean needs only how often each was drawn."""
    n = values.shape[-1]
    rows = values.reshape(-1, n)
    means = np.empty((RESAMPLES, len(rows)))
    for each in means:
        each[:] = rows @ np.bincount(rng.integers(0, n, n), minlength=n) / n
    ends = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    low, high = ends.reshape(2, *values.shape[:-1])
    return low, high


def describe(wide: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """A row a column of `wide`: `images` with a finite value, their `mean`, its ends, `median`.

    The ends are `mean_low` and `mean_high`, see `mean_interval`.
    """
    values = np.ascontiguousarray(wide.to_numpy(dtype=np.float64).T)
    finite = np.isfinite(values)
    low, high = np.full((2, len(values)), np.nan)
    whole = finite.all(1)
    if whole.any():
        low[whole], high[whole] = mean_interval(values[whole], seed=seed)
    for i in np.flatnonzero(~whole):
        low[i], high[i] = mean_interval(values[i][finite[i]], seed=seed)
    known = [v[f] for v, f in zip(values, finite, strict=True)]
    return pd.DataFrame(
        {
            "images": [len(v) for v in known],
            "mean": [v.mean() if len(v) else np.nan for v in known],
            "mean_low": low,
            "mean_high": high,
            "median": [np.median(v) if len(v) else np.nan for v in known],
        },
        index=wide.columns,
    )
