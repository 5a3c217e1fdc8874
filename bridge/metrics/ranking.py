"""Which method is better: metrics of many methods' maps, and their ranks over the metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.metrics.registry import get

# What anyone can ask of any maps; it needs no truth and no second explanation.
DEFAULT = ("deletion", "insertion", "average_drop", "sparseness")


def measure_all(
    model: nn.Module,
    x: Tensor,
    target: Any,
    maps: Mapping[str, Tensor | str] | Sequence[str],
    metrics: Mapping[str, Mapping[str, Any]] | Sequence[str] = DEFAULT,
    *,
    baselines: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Each metric of each method's maps, a row an image: method, control, image, metric, value.

    `maps` are tensors (n, c, h, w) by name, or names of methods. `metrics` are names, or names and
    their parameters. With `baselines` the maps that look at no model are rows too (`control`).
    A metric that cannot be had of some maps is NaN, and `error` says why.

    Raises what `measure` raises for images and classes that do not fit.
    """
    asked = dict(maps) if isinstance(maps, Mapping) else {name: name for name in maps}
    wanted = dict(metrics) if isinstance(metrics, Mapping) else {name: {} for name in metrics}
    controls = baseline_maps(x, seed=seed) if baselines else {}
    rows = []
    for method, given in {**asked, **controls}.items():
        for name, params in wanted.items():
            get(name)
            try:
                found = measure(name, model, x, target, given, seed=seed, **params)
                values, error = found.tolist(), ""
            except (TypeError, ValueError) as raised:
                values, error = [math.nan] * len(x), str(raised)
            rows += [
                {
                    "method": method,
                    "control": method in controls and method not in asked,
                    "metric": name,
                    "image": index,
                    "value": value,
                    "error": error,
                }
                for index, value in enumerate(values)
            ]
    return pd.DataFrame(rows)


def ranked(measured: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Each method's mean rank over the metrics, and how far they disagree about it.

    As LATEC prints it: `mean_rank` (1 is best) of the metrics' means over images, `disagreement`
    the standard deviation of its ranks over metrics, a 95 % interval by resampling images, `beats`
    the share of metrics in which it beats every control that has a value, and `undefined` counts
    values that are NaN. Best first. Metrics of which neither end is good are left out.
    """
    better = {name: get(name).better for name in measured.metric.unique()}
    usable = measured[measured.metric.map(better) != "neither"]
    sign = usable.metric.map(lambda name: -1.0 if better[name] == "higher" else 1.0)
    table = usable.assign(cost=usable.value * sign).pivot_table(
        index="image", columns=["metric", "method"], values="cost", dropna=False
    )
    means = table.mean().unstack("method")
    ranks = _ranks(means)
    again = [_ranks(each).mean() for each in _resampled(table, resamples, seed)]
    low, high = np.nanquantile(np.array(again), [0.025, 0.975], axis=0)
    controls = sorted(usable[usable.control].method.unique())
    best = means[controls].min(axis=1).dropna()
    beats = means.loc[best.index].lt(best, axis=0).mean() if len(best) else np.nan
    return pd.DataFrame(
        {
            "mean_rank": ranks.mean(),
            "low": low,
            "high": high,
            "disagreement": ranks.std(ddof=0),
            "beats": beats,
            "undefined": usable.groupby("method").value.agg(lambda v: int(v.isna().sum())),
            "control": usable.groupby("method").control.first(),
        }
    ).sort_values(["mean_rank", "disagreement"])


def _resampled(table: pd.DataFrame, resamples: int, seed: int) -> Iterator[pd.DataFrame]:
    """Metrics x methods: means over images drawn again; of NaN nothing is summed or counted."""
    rng, images = np.random.default_rng(seed), len(table)
    values = table.to_numpy(np.float64)
    known = np.isfinite(values)
    # Means need only how often each image was drawn.
    both = np.concatenate([np.where(known, values, 0.0), known], axis=1)
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, images, images), minlength=images)
        sums, counts = np.split(drawn @ both, 2)
        with np.errstate(invalid="ignore"):
            yield pd.Series(sums / counts, index=table.columns).unstack("method")


def _ranks(means: pd.DataFrame) -> pd.DataFrame:
    """The rank of each method (columns) in each metric (rows); equal ones but for rounding tie."""
    mantissa, exponent = np.frexp(means.to_numpy(np.float64))
    close = np.ldexp(np.round(np.ldexp(mantissa, 40)), exponent - 40)
    found = pd.DataFrame(close, index=means.index, columns=means.columns)
    return found.rank(axis=1, method="average", na_option="bottom")
