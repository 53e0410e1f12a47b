"""The metric inside a store beside that of an exact search: what is noise, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.stores.inside import judge

SECOND = 1 / np.log2(3)
"""nDCG of one relevant document at rank 2."""


def judged(queries, lost, *, groups=None):
    """Judge queries of which some find their document one rank lower inside the store."""
    exact = [[("right", 0.9), ("wrong", 0.5)]] * queries
    found = [["wrong", "right"] if row < lost else ["right", "wrong"] for row in range(queries)]
    return judge(found, exact, None, [{"right": 1}] * queries, groups=groups)


def test_the_same_ranks_differ_by_nothing():
    found = judged(50, 0)
    assert (found.store, found.offline, found.base) == (1, 1, None)
    assert (found.difference.gain, found.difference.ci95) == (0, (0, 0))
    assert found.within_noise


@pytest.mark.parametrize(("lost", "within"), [(3, True), (14, False), (300, False)])
def test_an_interval_below_zero_is_no_noise_even_where_the_difference_is_small(lost, within):
    found = judged(300, lost)
    assert found.difference.gain == pytest.approx(lost * (SECOND - 1) / 300)
    assert found.store == pytest.approx(1 + found.difference.gain)
    assert found.within_noise == within
    assert (found.difference.ci95[1] < 0) != within
    if lost == 14:
        assert found.difference.gain > -0.02


def test_near_duplicate_queries_count_as_one():
    groups = np.maximum(np.arange(300) - 13, 0)  # the 14 that lose are one group
    assert not judged(300, 14).within_noise
    assert judged(300, 14, groups=groups).within_noise


@pytest.mark.parametrize("queries", [1, 3, 10])
def test_few_queries_that_all_find_less_are_no_noise(queries):
    assert not judged(queries, queries).within_noise
    assert judged(queries, 0).within_noise


def test_a_store_that_finds_more_than_the_exact_search_is_taken():
    exact = [[("wrong", 0.9), ("right", 0.5)]] * 100
    found = judge([["right"]] * 100, exact, [["wrong"]] * 100, [{"right": 1}] * 100)
    assert found.within_noise
    assert not found.worse
    assert found.base == 0
    assert found.difference.gain == pytest.approx(1 - SECOND)


def test_ties_are_broken_as_the_store_breaks_them():
    pairs = [("first", 0.9), ("copy", 0.9 - 1e-7), ("far", 0.2)]
    found = judge([["copy", "first"]] * 100, [pairs] * 100, None, [{"first": 1}] * 100)
    assert found.store == found.offline == pytest.approx(SECOND)
    assert found.within_noise


def test_less_than_before_is_worse_whatever_the_map_does_here():
    exact = [[("wrong", 0.9), ("right", 0.5)]] * 4
    found = judge([["wrong", "right"]] * 4, exact, [["right"]] * 4, [{"right": 1}] * 4)
    assert found.within_noise
    assert found.worse
    assert found.base == 1
