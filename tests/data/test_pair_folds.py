"""Pairs that share sentences are held out together, and nothing that trains shares one with them."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.data.pair_folds import pair_folds, pair_groups


def test_groups_are_linked_pairs():
    left, right = np.array([0, 1, 5, 3, 6]), np.array([1, 2, 6, 4, 6])
    assert pair_groups(left, right).tolist() == [0, 0, 2, 1, 2]


def test_groups_of_few_pairs_by_hand():
    left = np.arange(0, 60, 2)
    right = left + 1
    right[3] = left[7]  # pairs 3 and 7 share a sentence
    groups = pair_groups(left, right)
    assert groups[3] == groups[7]
    assert len(np.unique(groups)) == 29


def test_a_web_of_all_pairs_is_cut_where_it_is_thin():
    left = np.arange(100)  # a chain: each pair shares a sentence with the next
    groups = pair_groups(left, left + 1)
    assert np.bincount(groups).tolist() == [10] * 10
    assert (np.diff(groups) != 0).sum() == 9  # pieces of the chain


@pytest.mark.parametrize("kind", ["apart", "chain", "random"])
def test_folds_share_no_sentence_and_hold_out_everything_once(kind):
    rng = np.random.default_rng(0)
    left = np.arange(200) * (2 if kind == "apart" else 1)
    right = left + 1
    if kind == "random":
        left, right = rng.integers(0, 150, 200), rng.integers(0, 150, 200)
    groups = pair_groups(left, right)
    folds = pair_folds(left, right, groups, parts=5, seed=1)
    assert np.sort(np.concatenate([held for _, held in folds])).tolist() == list(range(200))
    for train, held in folds:
        assert not np.intersect1d(np.r_[left[train], right[train]], np.r_[left[held], right[held]]).size
        assert not np.intersect1d(groups[train], groups[held]).size
    assert len(folds) == 5
    if kind != "random":
        assert min(len(train) for train, _ in folds) > 100
    again = pair_folds(left, right, groups, parts=5, seed=1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=True))
    other = pair_folds(left, right, groups, parts=5, seed=2)
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))
