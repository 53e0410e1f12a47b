"""Scored pairs as a problem: rounds without leaks, values that mean to the correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from embedtune.errors import UserError
from embedtune.judging.scored import Scored
from embedtune.transforms import Identity, Linear


def problem(n=60, d=5, seed=0):
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((2 * n, d)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    left, right = np.arange(n), np.arange(n, 2 * n)
    right[1] = right[0]
    return Scored(items, left, right, rng.integers(0, 6, n).astype(float))


def test_values_mean_to_the_correlation_of_the_mapped_pairs():
    some = problem()
    w = np.diag([3, 1, 1, 0.5, 1]).astype(np.float32)
    rows = np.arange(5, 50)
    a, b = some.items[some.left[rows]] @ w, some.items[some.right[rows]] @ w
    cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    found = some.evaluate(Linear.shared(w), rows, None, ("spearman", "pearson"))
    assert found["spearman"].shape == (45,)
    assert found["spearman"].mean() == pytest.approx(spearmanr(cosine, some.score[rows])[0], abs=1e-6)
    assert found["pearson"].mean() == pytest.approx(pearsonr(cosine, some.score[rows])[0], abs=1e-6)


def test_rounds_hold_out_every_pair_once_and_train_on_other_sentences():
    some = problem()
    assert some.groups[0] == some.groups[1]
    rounds = some.rounds(0)
    assert sorted(np.concatenate([one.held for one in rounds])) == list(range(60))
    for one in rounds:
        assert one.natural.all()
        assert len(one.natural) == len(one.held)
        train = some.training(one.train)
        assert train.left.shape == (len(one.train), 5)
        assert not np.isin(some.right[one.held], some.right[one.train]).any()


def web(n, seed=0):
    """Pairs over half as many sentences as pairs: nearly every sentence is in several."""
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((n // 2, 4)).astype(np.float32)
    left = rng.integers(0, n // 2, n)
    right = (left + rng.integers(1, n // 2, n)) % (n // 2)
    return Scored(items / np.linalg.norm(items, axis=1, keepdims=True), left, right, rng.random(n))


@pytest.mark.parametrize("n", [60, 1000])
def test_pairs_whose_sentences_repeat_are_held_out_by_pair_and_by_sentence(n):
    some = web(n)
    assert some.shares()["seen"] > 0.8
    rounds = some.rounds(0)
    assert len(rounds) == (10 if n == 60 else 4)
    assert sum(one.natural.sum() for one in rounds) == pytest.approx(n if n == 60 else 0.4 * n, rel=0.1)
    for one in rounds:
        sentences = np.union1d(some.left[one.train], some.right[one.train])
        known = np.isin(some.left[one.held], sentences) | np.isin(some.right[one.held], sentences)
        assert one.strata["seen"].tolist() == known.tolist()
        assert one.strata["unseen"].tolist() == (~known).tolist()
        assert not known[~one.natural].any()
        assert not np.isin(one.held, one.train).any()
    assert all(
        np.array_equal(a.held, b.held) and np.array_equal(a.train, b.train)
        for a, b in zip(rounds, some.rounds(0), strict=True)
    )


def test_a_pair_written_twice_is_held_out_as_one():
    some = web(60)
    some = Scored(some.items, np.tile(some.left, 2), np.tile(some.right, 2), np.tile(some.score, 2))
    for one in some.rounds(0)[:5]:
        assert set(one.held % 60) & set(one.train % 60) == set()


def test_a_split_of_the_users_own_is_judged_once_more_and_tells_the_shares():
    plain = web(1000)
    outside = np.arange(1000) >= 900
    some = Scored(plain.items, plain.left, plain.right, plain.score, outside=outside)
    last = some.rounds(0)[-1]
    assert last.outside
    assert last.held.tolist() == list(range(900, 1000))
    assert last.train.tolist() == list(range(900))
    assert some.shares()["seen"] == last.strata["seen"].mean()
    few = Scored(plain.items, plain.left, plain.right, plain.score, outside=np.arange(1000) >= 990)
    assert not few.rounds(0)[-1].outside


def test_sentences_that_are_nearly_the_same_stay_together():
    some = problem()
    alike = np.arange(len(some.items))
    alike[some.left[9]] = some.right[30]
    other = Scored(some.items, some.left, some.right, some.score, alike=alike)
    assert some.groups[9] != some.groups[30]
    assert other.groups[9] == other.groups[30]


def test_which_pairs_have_a_sentence_that_was_trained_on():
    some = problem()
    assert some.take(np.array([0, 5])).seen(some.take(np.array([1, 2]))).tolist() == [True, False]
    with pytest.raises(UserError):
        some.seen(problem(seed=1))


def test_unknown_metrics_and_no_rows():
    some = problem()
    with pytest.raises(UserError, match="spearman, pearson"):
        some.evaluate(Identity(), np.arange(3), None, ("ndcg@10",))
    assert some.evaluate(Identity(), np.arange(0), None)["spearman"].shape == (0,)
