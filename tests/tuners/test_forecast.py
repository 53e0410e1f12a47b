"""The learning curve of the choice: fewer labels by subsets, all labels by the scores that are there."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.judging.labelled import Labelled
from embedtune.training.budget import Budget
from embedtune.tuners.auto import choose
from embedtune.tuners.forecast import SHARES, forecast, places
from embedtune.tuners.ladder_retrieval import ladder

D = 24


def turned(n: int) -> Labelled:
    """Queries that lie off their documents by a rotation, with noise: more labels show more of it."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2 * n, D))
    q = z[:n] @ np.linalg.qr(rng.standard_normal((D, D)))[0] + 0.8 * rng.standard_normal((n, D))
    q, z = (np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32) for x in (q, z))
    pairs = csr_matrix(np.eye(n, 2 * n, dtype=np.float32))
    return Labelled(q, z, pairs, [str(i) for i in range(2 * n)], np.arange(n))


def chosen(n: int, method: str = "linear"):
    return choose(turned(n), ladder=ladder, method=method, metric="ndcg@10", seed=0, budget=Budget())


def test_fewer_labels_gain_less_and_more_are_forecast_to_gain_more() -> None:
    choice = chosen(240)
    curve = forecast(choice, labels=240, seed=0, budget=Budget())
    assert curve is not None
    assert curve.sizes == [60, 120, 240]
    assert curve.gains[0] < curve.gains[1] < curve.gains[2]
    turns = [0, 1, 2]  # of five folds of 48
    ends = np.cumsum([len(one.held) for one in choice.folded.rounds])
    rows = np.concatenate([np.arange(ends[i] - len(choice.folded.rounds[i].held), ends[i]) for i in turns])
    gains = (choice.shown.scores - choice.folded.base)[rows]
    assert curve.gains[2] == pytest.approx(gains.mean())
    twice, five = curve.forecasts
    assert (twice.labels, five.labels) == (480, 1200)
    assert 0 < twice.more < five.more


def test_it_is_the_same_each_time() -> None:
    choice = chosen(120, "ridge")
    one, two = (forecast(choice, labels=120, seed=3, budget=Budget()) for _ in range(2))
    assert one == two


def test_nothing_is_said_of_few_labels_no_choice_or_without_time() -> None:
    choice = chosen(120, "ridge")
    assert forecast(choice, labels=79, seed=0, budget=Budget()) is None
    assert forecast(choice, labels=120, seed=0, budget=Budget(time.monotonic() - 1)) is None
    assert forecast(chosen(120, "identity"), labels=120, seed=0, budget=Budget()) is None


def test_near_duplicates_are_left_out_together_and_each_subset_lies_in_the_next() -> None:
    groups = np.repeat(np.arange(50), 2)
    subsets = [np.flatnonzero(places(groups, seed=1) < share) for share in SHARES]
    assert [len(rows) for rows in subsets] == [26, 50, 100]  # whole groups: 13 of 50 are the first quarter
    assert all(set(few) <= set(more) for few, more in pairwise(subsets))
    for rows in subsets:
        assert (np.unique(groups[rows], return_counts=True)[1] == 2).all()
    assert not np.array_equal(subsets[0], np.flatnonzero(places(groups, seed=2) < SHARES[0]))
