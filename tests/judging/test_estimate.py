"""The estimate: pooled over splits, scaled to right labels, never surer than its parts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from embedtune.judging.compare import best_mean
from embedtune.judging.comparison import gain_of
from embedtune.judging.estimate import HELD_BACK, estimate, wrong_share


@dataclass
class Made:
    """What the estimate reads of the folds: scores of the base, weights, groups and the user's split."""

    base: np.ndarray
    outside: np.ndarray
    groups: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.groups = np.arange(len(self.base))

    def weight(self, among: np.ndarray | None = None) -> np.ndarray:
        return np.ones(len(self.base)) if among is None else among.astype(float)


def made(gains: np.ndarray, outside: np.ndarray | None = None, **more: object):
    base = np.full(len(gains), 0.4)
    folded = Made(base, np.zeros(len(gains), bool) if outside is None else outside)
    return estimate(folded, base + gains, [base, base + gains], choose=best_mean, **more)


def test_without_splits_and_with_right_labels_it_is_the_mean_and_a_wider_interval() -> None:
    gains = np.random.default_rng(0).normal(0.1, 0.1, 400)
    found, own = made(gains), gain_of(gains, np.arange(400), 0)
    assert found.gain == pytest.approx(gains.mean(), abs=0.002)
    assert found.gain - found.ci95[0] >= (own.gain - own.ci95[0]) * 2**0.5 - 0.002
    assert found.ci95[1] >= own.ci95[1] + HELD_BACK * found.gain - 0.002


def test_a_split_that_agrees_changes_little_and_one_that_does_not_widens() -> None:
    rng = np.random.default_rng(1)
    outside = np.arange(600) < 200
    agree = made(rng.normal(0.1, 0.1, 600), outside)
    differ = made(rng.normal(0.1, 0.1, 600) - 0.08 * outside, outside)
    assert agree.gain == pytest.approx(0.1, abs=0.01)
    # two studies, .02 and .10: their mean is .06, and a third may well be as far from it as they are
    assert differ.gain == pytest.approx(0.06, abs=0.01)
    assert differ.ci95[0] < 0.02
    assert differ.ci95[1] > 0.10
    assert np.diff(differ.ci95) > 2 * np.diff(agree.ci95)


def test_half_of_the_labels_wrong_means_twice_the_gain_for_the_right_ones() -> None:
    rng = np.random.default_rng(2)
    right = np.arange(1000) < 500
    gains = np.where(right, rng.normal(0.2, 0.1, 1000), 0.0)
    far = (~right & (rng.random(1000) < 0.5)).astype(float)
    assert wrong_share(far) == pytest.approx(0.5, abs=0.06)
    plain, scaled = made(gains), made(gains, far=far)
    assert plain.gain == pytest.approx(0.1, abs=0.01)
    assert scaled.gain == pytest.approx(0.2, abs=0.03)
    assert scaled.ci95[0] == plain.ci95[0]
    assert scaled.ci95[1] > 0.2


def test_labels_that_all_look_wrong_tell_nothing_of_the_gain() -> None:
    rng = np.random.default_rng(4)
    far = (rng.random(300) < 0.5).astype(float)
    assert wrong_share(far) > 0.85
    assert made(rng.normal(0.0, 0.01, 300), far=far).ci95 == (-1.0, 1.0)


def test_a_few_far_labels_are_taken_as_they_are() -> None:
    gains = np.random.default_rng(3).normal(0.1, 0.1, 300)
    far = (np.arange(300) < 20).astype(float)  # 2 * 20 / 300 = .13
    assert made(gains, far=far) == made(gains)


def test_one_group_of_queries_tells_nothing() -> None:
    folded = Made(np.full(5, 0.4), np.zeros(5, bool))
    folded.groups = np.zeros(5, int)
    assert estimate(folded, folded.base + 0.1, [folded.base], choose=best_mean) is None
