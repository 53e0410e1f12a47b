"""Intervals that cover, tests that agree with scipy's, and a correction that takes luck away."""

import math

import numpy as np
import pytest
from scipy import stats

from embedtune.errors import UserError
from embedtune.judging import compare
from embedtune.judging.compare import (
    bbc,
    best_mean,
    bootstrap_interval,
    holm,
    randomisation_test,
    simplest_within_one_error,
)


def zero_heavy(rng, n):
    """85 % zeros, 12 % gains of .67 in the mean, 3 % losses of .33: true mean .12 * 2/3 - .03 * 1/3 = .07."""
    kind = rng.random(n)
    return np.where(kind < 0.85, 0.0, np.where(kind < 0.97, rng.beta(2, 1, n), -rng.beta(1, 2, n)))


@pytest.mark.parametrize("n", [10, 40, 200])
def test_the_interval_covers_skewed_differences_full_of_zeros(n):
    rng = np.random.default_rng(n)
    intervals = [bootstrap_interval(zero_heavy(rng, n), samples=400, seed=i) for i in range(400)]
    covered = np.mean([low <= 0.07 <= high for low, high in intervals])

    assert covered >= 0.93  # 400 cases at .95: .93 is two standard errors below


def test_the_interval_by_hand():
    # Zeros and the two made-up differences: every resampled mean is (ups - downs) / (n + 2), whose variance
    # is 2 / (n + 2)**2; for n = 398 the 95 % interval is about 1.96 * sqrt(2) / 400 = .0069 either side of 0.
    low, high = bootstrap_interval(np.zeros(398), samples=4000)

    assert low == pytest.approx(-0.0069, abs=0.001)
    assert high == pytest.approx(0.0069, abs=0.001)


def test_the_interval_nears_the_normal_one():
    differences = np.random.default_rng(0).normal(0.1, 0.3, 4000)
    low, high = bootstrap_interval(differences, level=0.9, samples=4000)
    error = differences.std() / math.sqrt(4000)

    assert low == pytest.approx(differences.mean() - 1.645 * error, abs=0.1 * error)
    assert high == pytest.approx(differences.mean() + 1.645 * error, abs=0.1 * error)


def test_groups_widen_the_interval():
    once = np.random.default_rng(1).normal(0, 0.3, 100)
    groups = np.tile(np.arange(100), 9)  # every query nine times: no more is known than from one of each
    copies = bootstrap_interval(np.tile(once, 9), groups=groups)
    naive = bootstrap_interval(np.tile(once, 9))

    assert (copies.high - copies.low) / (naive.high - naive.low) == pytest.approx(3, rel=0.1)


def test_resamples_do_not_depend_on_the_memory_they_are_drawn_in(monkeypatch):
    differences = zero_heavy(np.random.default_rng(2), 50)
    whole = bootstrap_interval(differences, samples=200, seed=3)
    monkeypatch.setattr(compare, "_ENTRIES", 1)

    assert bootstrap_interval(differences, samples=200, seed=3) == whole


def test_signs_by_hand():
    # 8 assignments of signs to 1, 2, 3; only +++ and --- reach |6|: p = 2 / 8.
    assert randomisation_test([1.0, 2.0, 3.0]) == 0.25
    # Zeros take no part; 3 - 1 = 2 is reached by all but none lower: ±2, ±4 of 4 assignments.
    assert randomisation_test([3.0, -1.0, 0.0, 0.0]) == 1.0
    # Groups {1, 2} and {3}: sums 3 and 3; ±6 in 2 of 4 assignments.
    assert randomisation_test([1.0, 2.0, 3.0], groups=["a", "a", "b"]) == 0.5
    assert randomisation_test(np.zeros(50)) == 1.0


def test_ties_by_rounding_count():
    differences = [0.1, 0.2, -0.3, 0.1, 0.2, -0.3, 0.1]  # sums of these differ in their last bits only
    signs = np.array(np.meshgrid(*[[1, -1]] * 7)).reshape(7, -1).T
    whole = np.array([1, 2, -3, 1, 2, -3, 1])

    assert randomisation_test(differences) == np.mean(np.abs(signs @ whole) >= abs(whole.sum()))


def test_as_scipy():
    rng = np.random.default_rng(4)
    for n in (9, 13):
        differences = rng.normal(0.3, 1, n)
        expected = stats.permutation_test(
            (differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", vectorized=True
        ).pvalue
        assert randomisation_test(differences) == pytest.approx(expected, abs=1e-12)
    differences = rng.normal(0.12, 1, 300)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert randomisation_test(differences, samples=20_000) == pytest.approx(expected, abs=0.01)


def test_the_test_keeps_its_level_and_never_says_zero():
    rng = np.random.default_rng(5)
    cases = [rng.choice([-1, 1], 40) * zero_heavy(rng, 40) for _ in range(400)]
    p = [randomisation_test(case, samples=300, seed=i) for i, case in enumerate(cases)]

    assert np.mean(np.array(p) <= 0.05) <= 0.072  # 400 cases at .05: two standard errors above
    assert randomisation_test(np.ones(60), samples=99) == 1 / 100


def test_holm_by_hand():
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1: .02, .03, .06, .04; never falling: .02, .03, .06, .06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-12)
    assert holm([0.7, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_luck_is_taken_away():
    rng = np.random.default_rng(6)
    naive, corrected = [], []
    for seed in range(40):  # ten candidates that are no better than the base
        scores = np.vstack([np.zeros(150), rng.normal(0, 0.3, (10, 150))])
        naive.append(scores.mean(axis=1).max())
        corrected.append(bbc(scores, samples=200, seed=seed).estimate)

    assert np.mean(naive) > 0.03  # the best of ten means, of error .3 / sqrt(150) = .024 each
    assert abs(np.mean(corrected)) < 0.008


def test_a_real_gain_stays():
    rng = np.random.default_rng(7)
    gains = rng.normal(0.2, 0.3, 400)
    scores = np.vstack([np.zeros(400), gains, gains - 0.1])
    result = bbc(scores, samples=500)

    assert result.estimate == pytest.approx(gains.mean(), abs=0.005)
    assert result.interval.low < gains.mean() < result.interval.high
    assert (result.chosen == 1).all()
    assert result.samples.shape == (500,)


def naive_bbc(scores, samples, seed, groups):
    """Resample by resample, for the same random numbers."""
    members = [np.flatnonzero(np.array(groups) == label) for label in sorted(set(groups))]
    rng, gains = np.random.default_rng(seed), []
    for drawn in rng.integers(0, len(members), (samples, len(members)), dtype=np.int32):
        bag = np.concatenate([members[i] for i in drawn])
        out = np.setdiff1d(np.arange(scores.shape[1]), bag)
        best = scores[:, bag].mean(axis=1).argmax()
        for row in range(len(scores)):
            gaps = scores[best] - scores[row]
            gap = gaps[bag].mean()
            residuals = np.array([(gaps[members[i]] - gap).sum() for i in drawn])
            error = math.sqrt((residuals**2).sum() * len(drawn) / (len(drawn) - 1)) / len(bag)
            if gap <= error + 1e-12:
                break
        if len(out):
            gains.append((scores[row, out] - scores[0, out]).mean())
    return np.array(gains)


def test_the_one_error_rule_with_groups_as_a_plain_loop_has_it():
    rng = np.random.default_rng(8)
    scores = rng.random((4, 14)) + np.array([0, 0.1, 0.15, 0.2])[:, None]
    groups = [0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 7, 8]
    result = bbc(scores, choose=simplest_within_one_error(range(4)), groups=groups, samples=100, seed=9)

    np.testing.assert_allclose(result.samples, naive_bbc(scores, 100, 9, groups), atol=1e-12)
    assert len(set(result.chosen)) > 1


def test_ties_go_to_the_simpler_candidate():
    scores = np.random.default_rng(10).random((1, 30)).repeat(3, axis=0)

    assert (bbc(scores, samples=50).chosen == 0).all()
    assert best_mean(np.array([[0.1, 0.3, 0.1 + 0.2]]), np.zeros((1, 3))).tolist() == [1]


def test_bad_input_is_named():
    with pytest.raises(UserError, match="no queries"):
        bootstrap_interval([])
    with pytest.raises(UserError, match="not finite"):
        randomisation_test([0.1, np.nan])
    with pytest.raises(UserError, match="2 groups for 3 queries"):
        bootstrap_interval([0.1, 0.2, 0.3], groups=[0, 1])
    with pytest.raises(UserError, match="cannot be resampled"):
        bbc([[0.1, 0.2], [0.3, 0.4]], groups=[0, 0])
