"""Intervals agree with hand-computed ones, with the libraries', and cover what they promise."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bridge.statistics.intervals import describe, mean_interval, wilson


def by_hand(hits: int, among: int) -> tuple[float, float]:
    z, p = 1.959963984540054, hits / among
    middle = (p + z * z / (2 * among)) / (1 + z * z / among)
    half = z * math.sqrt(p * (1 - p) / among + z * z / (4 * among**2)) / (1 + z * z / among)
    return middle - half, middle + half


@pytest.mark.parametrize(("hits", "among"), [(1, 3), (8, 10), (50, 100), (914, 1000)])
def test_wilson_is_its_formula_and_scipys(hits, among):
    found = wilson(hits, among)
    assert found == pytest.approx(by_hand(hits, among), abs=1e-12)
    of_scipy = stats.binomtest(hits, among).proportion_ci(method="wilson")
    assert found == pytest.approx((of_scipy.low, of_scipy.high), abs=1e-12)


def test_wilson_of_nothing_all_and_none():
    low, high = wilson([0, 5, 0], [5, 5, 0])
    assert low[0] == 0
    assert high[1] == 1
    assert math.isnan(low[2])
    assert math.isnan(high[2])
    z2 = 1.959963984540054**2
    assert high[0] == pytest.approx(z2 / (5 + z2))


def test_more_hits_than_there_are_is_refused():
    with pytest.raises(ValueError, match="check the counts"):
        wilson([3], [2])


def test_the_bootstrap_of_few_is_scipys_bca():
    values = np.random.default_rng(3).exponential(size=80)
    of_scipy = stats.bootstrap(
        (values,), np.mean, n_resamples=1000, method="BCa", rng=np.random.default_rng(7)
    ).confidence_interval
    assert mean_interval(values, seed=7) == pytest.approx((of_scipy.low, of_scipy.high), abs=1e-12)


def test_the_bootstrap_of_many_is_scipys_percentile_up_to_its_own_chance():
    values = np.random.default_rng(3).exponential(size=5000)
    of_scipy = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, batch=50, method="percentile", rng=1
    ).confidence_interval
    deviation = values.std() / math.sqrt(len(values))
    assert mean_interval(values) == pytest.approx(
        (of_scipy.low, of_scipy.high), abs=0.2 * deviation
    )


@pytest.mark.parametrize("n", [200, 1500])
def test_the_bootstrap_covers_the_mean_in_95_of_100(n):
    """300 samples of a skewed distribution with mean 1: its binomial interval holds 95 %."""
    draw = np.random.default_rng(11)
    covered = 0
    for _ in range(10):
        low, high = mean_interval(draw.exponential(size=(30, n)))
        covered += int(((low <= 1) & (high >= 1)).sum())
    allowed = stats.binom(300, 0.95).ppf([0.0005, 0.9995])
    assert allowed[0] <= covered <= allowed[1]


def test_the_same_seed_gives_the_same_interval_and_rows_share_their_draws():
    values = np.random.default_rng(0).normal(size=(2, 2000))
    low, high = mean_interval(values, seed=5)
    for row in (0, 1):
        assert mean_interval(values[row], seed=5) == pytest.approx((low[row], high[row]), abs=1e-14)
        assert mean_interval(values[row], seed=5) == mean_interval(values[row], seed=5)
    assert mean_interval(values[0], seed=6) != pytest.approx((low[0], high[0]), abs=1e-6)


def test_equal_values_and_single_ones():
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert all(math.isnan(end) for end in mean_interval([0.5]))
    assert all(math.isnan(end) for end in mean_interval([]))


def test_what_is_not_finite_is_left_out_column_by_column():
    wide = pd.DataFrame({"a": [1.0, 2.0, 3.0, np.nan], "b": [1.0, 2.0, 3.0, np.inf]})
    found = describe(wide.assign(c=np.nan))
    assert found["images"].tolist() == [3, 3, 0]
    assert found["mean"].tolist()[:2] == [2.0, 2.0]
    assert found.loc["a", "mean_low"] == found.loc["b", "mean_low"]
    assert found.loc["c"].isna().sum() == 4
