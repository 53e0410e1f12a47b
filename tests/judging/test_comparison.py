"""Base and tuned side by side: means by stratum, gains, examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedtune.judging.comparison import Gain, Judged, gain_of


@pytest.fixture
def judged() -> Judged:
    base = np.array([0.2, 0.4, 0.6, 0.8])
    tuned = np.array([0.7, 0.4, 0.5, 1.0])
    seen = np.array([True, True, False, False])
    strata = {"seen": seen, "unseen": ~seen}
    other = {"mrr@10": np.array([1.0, 0, 0, 0])}
    return Judged({"ndcg@10": base, **other}, {"ndcg@10": tuned, **other}, strata, np.arange(4), list("abcd"))


def test_sides_are_means(judged: Judged) -> None:
    base, tuned = judged.side("base"), judged.side("tuned")
    assert (base.overall, base.seen, base.unseen) == pytest.approx((0.5, 0.3, 0.7))
    assert (tuned.overall, tuned.seen, tuned.unseen) == pytest.approx((0.65, 0.55, 0.75))
    assert (base.n, base.n_seen, base.n_unseen) == (4, 2, 2)
    assert base.metrics == {"ndcg@10": 0.5, "mrr@10": 0.25}
    assert judged.metric == "ndcg@10"


def test_gains_by_stratum(judged: Judged) -> None:
    # (.5 + 0 - .1 + .2) / 4 = .15; seen (.5 + 0) / 2 = .25; unseen (-.1 + .2) / 2 = .05
    gain, strata = judged.gain(), judged.gains()
    assert gain is not None
    assert gain.gain == pytest.approx(0.15)
    assert gain.ci95[0] <= gain.gain <= gain.ci95[1]
    assert {name: part.gain for name, part in strata.items()} == pytest.approx({"seen": 0.25, "unseen": 0.05})
    assert {name: part.n for name, part in strata.items()} == {"seen": 2, "unseen": 2}


def test_rows_that_do_not_stand_for_traffic_count_in_their_strata_alone(judged: Judged) -> None:
    natural = np.array([False, True, True, True])
    some = replace(judged, natural=natural)
    assert some.gain().gain == pytest.approx(0.1 / 3)
    assert some.gains()["seen"].gain == pytest.approx(0.25)
    assert some.side("base").overall == pytest.approx(0.6)
    assert some.side("base").n == 3
    assert [one["query"] for one in some.examples(best=True)] == ["d"]


def test_winners_and_losers(judged: Judged) -> None:
    assert [one["query"] for one in judged.examples(best=True)] == ["a", "d"]
    assert judged.examples(best=False) == [{"query": "c", "base": 0.6, "tuned": 0.5}]


def test_a_stratum_without_queries_is_none() -> None:
    scores = {"map": np.ones(2)}
    judged = Judged(
        scores, scores, {"seen": np.zeros(2, bool), "unseen": np.ones(2, bool)}, np.arange(2), ["a", "b"]
    )
    assert judged.side("base").seen is None
    assert set(judged.gains()) == {"unseen"}


def test_no_difference_is_certain() -> None:
    assert gain_of(np.zeros(5), np.arange(5), 0) == Gain(0.0, (0.0, 0.0), 1.0, 5)
    assert gain_of(np.zeros(0), np.arange(0), 0) is None


def test_sure_gains_and_losses() -> None:
    difference = np.random.default_rng(0).uniform(0.05, 0.2, 60)
    up, down = (gain_of(sign * difference, np.arange(60), 0) for sign in (1, -1))
    assert up is not None
    assert down is not None
    assert up.ci95[0] > 0
    assert up.p_value < 0.01
    assert not up.harmful
    assert down.harmful
    assert down.ci95[1] < 0


def test_few_differences_keep_the_interval_wide() -> None:
    gain = gain_of(np.r_[np.zeros(20), 0.1, 0.1], np.arange(22), 0)
    assert gain is not None
    assert gain.ci95[0] <= 0 < gain.ci95[1]
    assert not Gain(-0.1, (-0.3, 0.1), 0.2, 9).harmful


def test_near_duplicates_count_as_one() -> None:
    rng = np.random.default_rng(0)
    difference = np.repeat(rng.normal(0.05, 0.2, 10), 10)
    apart, together = (
        gain_of(difference, groups, 0) for groups in (np.arange(100), np.repeat(np.arange(10), 10))
    )
    assert apart is not None
    assert together is not None
    assert together.ci95[1] - together.ci95[0] > 1.5 * (apart.ci95[1] - apart.ci95[0])
