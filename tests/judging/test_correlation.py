"""Correlations as means of influence values: against scipy, slow references and direct bootstraps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from embedtune.errors import UserError
from embedtune.judging.correlation import pearson_values, spearman_values


def sample(n, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = x + rng.standard_normal(n)
    return (np.round(x, 1), np.round(2 * y) / 2) if ties else (x, y)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [2, 5, 300])
def test_the_mean_is_the_correlation(n, ties):
    x, y = sample(n, ties=ties)
    assert spearman_values(x, y).mean() == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)
    assert pearson_values(x, y).mean() == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)


def test_by_hand():
    # ranks 1 2 3 against 1 3 2: rho = 1 - 6 (0 + 1 + 1) / (3 * 8) = 0.5
    assert spearman_values([10, 20, 30], [1, 9, 4]).mean() == pytest.approx(0.5)
    # r of (0, 1, 2) and (0, 0, 3) is sqrt(3) / 2; the first pair has zx = -sqrt(1.5), zy = -sqrt(.5)
    r = 3**0.5 / 2
    first = r + 0.75**0.5 - r / 2 * (1.5 + 0.5)
    assert pearson_values([0, 1, 2], [0, 0, 3])[0] == pytest.approx(first)


@pytest.mark.parametrize(
    ("values", "direct"),
    [(spearman_values, stats.spearmanr), (pearson_values, stats.pearsonr)],
    ids=["spearman", "pearson"],
)
@pytest.mark.parametrize("ties", [False, True])
def test_a_value_is_what_one_more_of_that_pair_does(values, direct, ties):
    """The influence, by its definition: add a little weight to a pair; here, one copy among many of all."""
    x, y = sample(40, seed=3, ties=ties)
    copies = 200
    many_x, many_y = np.tile(x, copies), np.tile(y, copies)
    rho, found = direct(x, y)[0], values(x, y)
    for i in (0, 7, 39):
        one_more = direct(np.r_[many_x, x[i]], np.r_[many_y, y[i]])[0]
        share = 1 / (len(many_x) + 1)
        assert (one_more - rho) / share == pytest.approx(found[i] - rho, abs=0.01)


@pytest.mark.parametrize("values", [spearman_values, pearson_values])
def test_a_bootstrap_of_the_difference_is_a_bootstrap_of_the_correlations(values):
    direct = stats.spearmanr if values is spearman_values else stats.pearsonr
    rng = np.random.default_rng(5)
    y = np.round(rng.standard_normal(300), 1)
    base, tuned = (y + noise * rng.standard_normal(300) for noise in (1.2, 0.8))
    difference = values(tuned, y) - values(base, y)
    draws = rng.integers(0, 300, (800, 300))
    fast = difference[draws].mean(axis=1)
    slow = [direct(tuned[d], y[d])[0] - direct(base[d], y[d])[0] for d in draws]
    assert np.std(fast) == pytest.approx(np.std(slow), rel=0.05)
    assert np.corrcoef(fast, slow)[0, 1] > 0.98
    assert np.mean(fast) == pytest.approx(np.mean(slow), abs=0.005)


def test_a_plain_product_of_ranks_would_be_too_sure_or_not_sure_enough():
    """Standardised rank products have the same mean; their spread is not that of rho."""
    x, y = sample(400, seed=1, ties=False)
    rx, ry = (stats.zscore(stats.rankdata(v)) for v in (x, y))
    assert (rx * ry).mean() == pytest.approx(spearman_values(x, y).mean())
    assert (rx * ry).std() > 1.2 * spearman_values(x, y).std()


def test_constants_tell_nothing():
    assert spearman_values([1, 1, 1], [1, 2, 3]).tolist() == [0, 0, 0]
    assert pearson_values([1, 2, 3], [2, 2, 2]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("bad", [([], []), ([1, 2], [1]), ([1, np.nan], [1, 2])])
def test_what_cannot_be_correlated_is_refused(bad):
    with pytest.raises(UserError):
        spearman_values(*bad)
