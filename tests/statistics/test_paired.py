"""Paired tests agree with enumeration, with the libraries', and with published arithmetic."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bridge.statistics.paired import compared, holm, mcnemar, ranked, wilcoxon


def test_wilcoxon_is_every_sign_enumerated():
    gaps = np.array([0.3, -1.2, 2.5, 3.1, -0.4, 4.0, 0.9])
    ranks = stats.rankdata(abs(gaps))
    observed = abs(ranks[gaps > 0].sum() - ranks.sum() / 2)
    sums = [
        abs(ranks[np.array(signs)].sum() - ranks.sum() / 2)
        for signs in itertools.product([False, True], repeat=len(gaps))
    ]
    expected = np.mean([each >= observed for each in sums])
    assert wilcoxon(gaps, np.zeros(7)) == pytest.approx(expected)


def test_infinity_is_more_than_any_number_and_no_more_than_itself():
    a = [1.0, math.inf, math.inf, 4.0, 5.0, 6.0]
    b = [2.0, 9.0, math.inf, 3.0, 4.5, 4.0]
    large = [100.0 if math.isinf(v) else v for v in a]
    assert wilcoxon(a, b) == wilcoxon(large, [100.0 if math.isinf(v) else v for v in b])


def test_pairs_that_all_tie_differ_by_nothing():
    assert wilcoxon([1, 2, 3], [1, 2, 3]) == 1
    assert math.isnan(wilcoxon([], []))
    assert mcnemar(0, 0) == 1


def test_mcnemar_is_the_sum_of_binomials():
    expected = 2 * sum(math.comb(13, k) for k in range(4)) / 2**13
    assert mcnemar(3, 10) == pytest.approx(expected)
    assert mcnemar(10, 3) == pytest.approx(expected)
    assert mcnemar(5, 5) == 1


def test_holm_is_statsmodels():
    p = np.random.default_rng(0).uniform(0, 0.2, 12).round(2)  # with ties
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    found = holm([0.02, math.nan, 0.01])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.02)
    assert holm([]) == []


def test_friedman_of_the_textbook():
    """Conover's twelve home owners and four grasses (1999, p. 371): T1 = 8.097 with 3 degrees."""
    ranks = """4 3 2 1; 4 2 3 1; 3 1.5 1.5 4; 3 1 2 4; 4 2 1 3; 2 2 2 4
               1 3 2 4; 2 4 1 3; 3.5 1 2 3.5; 4 1 3 2; 4 2 3 1; 3.5 1 2 3.5"""
    rows = [line.split() for line in ranks.replace("\n", ";").split(";")]
    found = ranked(pd.DataFrame(rows, columns=list("abcd"), dtype=float))
    assert found.statistic == pytest.approx(8.097, abs=1e-3)
    assert found.p == pytest.approx(stats.chi2(3).sf(found.statistic))
    assert found.ranks["a"] == pytest.approx(38 / 12)
    assert found.images == 12


def test_two_methods_have_ranks_and_no_test_of_friedman():
    found = ranked(pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, math.inf]}))
    assert found.ranks == {"a": 1.0, "b": 2.0}
    assert math.isnan(found.p)


def test_only_images_that_have_both_are_compared():
    wide = pd.DataFrame({"a": [1.0, 2.0, np.nan, 4.0], "b": [0.0, 3.0, 1.0, 1.0]})
    found = compared(wide).iloc[0]
    assert found["images"] == 3
    assert (found["larger"], found["smaller"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert found["median"] == 1.0
    assert found["p"] == wilcoxon([1, 2, 4], [0, 3, 1])
