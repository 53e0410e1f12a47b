"""Thresholds of 'the same': chosen as asked, judged on pairs they were not chosen on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from embedtune.errors import UserError
from embedtune.judging.threshold import Threshold, calibrate, same_by_score, wilson


def overlapping(n=400, seed=0):
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.3
    return np.where(same, 0.8, 0.5) + 0.12 * rng.standard_normal(n), same


def test_kinds_that_are_apart_are_told_apart():
    x = np.array([0.1, 0.2, 0.3, 0.3, 0.7, 0.8, 0.9, 0.9])
    found = calibrate(x, x > 0.5)
    assert found.threshold == pytest.approx(0.5)  # the middle between .3 and .7
    assert (found.precision, found.recall) == (1.0, 1.0)
    assert found.same([0.49, 0.51]).tolist() == [False, True]
    assert found.precision_ci95[0] < 0.6  # four pairs tell little


def test_best_f1_is_that_of_going_through_all_thresholds():
    x, same = overlapping()
    f1 = {t: 2 * (same & (x >= t)).sum() / ((x >= t).sum() + same.sum()) for t in x}
    found = calibrate(x, same)
    assert f1[x[x >= found.threshold].min()] == max(f1.values())


def test_the_lowest_threshold_that_reaches_a_precision():
    x, same = overlapping()
    found = calibrate(x, same, precision=0.9)
    share = {t: same[x >= t].mean() for t in x}
    lowest = min(t for t in x if share[t] >= 0.9)
    assert x[x >= found.threshold].min() == lowest
    assert found.aim == "precision >= 0.9"
    assert found.threshold > calibrate(x, same).threshold


def test_what_is_said_of_it_holds_on_new_pairs():
    """Chosen and judged on the same pairs, precision would be at least .9 by construction."""
    inside = []
    new_x, new_same = overlapping(200_000, seed=99)
    for seed in range(60):
        x, same = overlapping(150, seed)
        found = calibrate(x, same, precision=0.9, seed=seed)
        true = new_same[new_x >= found.threshold].mean()
        inside.append(found.precision_ci95[0] <= true <= found.precision_ci95[1])
        assert found.recall_ci95[0] <= found.recall <= found.recall_ci95[1]
    assert np.mean(inside) > 0.87


def test_groups_stay_in_one_fold():
    """Each pair and its opposite twin: a threshold that had seen the twin would be told by it."""
    x, same = overlapping(100)
    doubled = calibrate(np.tile(x, 2), np.tile(same, 2), groups=np.tile(np.arange(100), 2), seed=3)
    single = calibrate(x, same, groups=np.arange(100), seed=3)
    assert doubled.precision == pytest.approx(single.precision)
    assert doubled.recall == pytest.approx(single.recall)
    assert doubled.threshold == pytest.approx(single.threshold)


def test_it_goes_through_json():
    found = calibrate(*overlapping(), same_at=4.0)
    assert Threshold.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert "best F1" in found.text()


def test_which_scores_mean_the_same():
    assert same_by_score([0, 1, 1, 0]).tolist() == [False, True, True, False]
    assert same_by_score([1, 2.5, 4], same_at=2.5).tolist() == [False, True, True]
    with pytest.raises(UserError, match="3 different scores"):
        same_by_score([1, 2, 3])
    with pytest.raises(
        UserError, match="no pairs have a score of at least 9; choose a level between 1 and 3"
    ):
        same_by_score([1, 2, 3], same_at=9)


@pytest.mark.parametrize(
    ("x", "same", "precision"),
    [
        ([0.1, 0.2, 0.3], [1, 0, 0], None),
        ([0.1, np.nan], [1, 0], None),
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.5),
    ],
)
def test_what_cannot_be_calibrated_is_refused(x, same, precision):
    with pytest.raises(UserError):
        calibrate(x, np.array(same, bool), precision=precision)


def test_wilson_is_scipys():
    found = binomtest(17, 40).proportion_ci(method="wilson")
    assert wilson(17, 40) == pytest.approx((found.low, found.high))
    assert wilson(0, 0) == (0.0, 1.0)


def test_one_group_judges_nothing():
    x, same = overlapping(50)
    with pytest.raises(UserError, match="all pairs are in one group"):
        calibrate(x, same, groups=np.zeros(50, np.int64))
