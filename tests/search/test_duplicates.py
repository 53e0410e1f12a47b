"""All pairs above a threshold, in blocks, and their groups."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from embedtune.errors import UserError
from embedtune.search import duplicates
from embedtune.search.duplicates import find_duplicates


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_it_finds_what_going_through_all_pairs_finds(block):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = find_duplicates(x, 0.95, block=block)
    expected = {(i, j) for i in range(60) for j in range(i + 1, 60) if x[i] @ x[j] >= 0.95}
    assert {tuple(pair) for pair in found.pairs.tolist()} == expected
    assert (np.diff(found.similarity) <= 0).all()
    assert len(expected) > 5


def test_duplicates_of_duplicates_are_one_group():
    angle = np.radians([0, 90, 20, 10, 180])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    found = find_duplicates(x, np.cos(np.radians(11)))
    assert found.groups() == [[0, 2, 3]]
    assert_array_equal(found.group, [0, 1, 0, 0, 2])
    assert find_duplicates(x, 1.1).groups() == []
    assert find_duplicates(x[:0], 0.5).pairs.shape == (0, 2)


def test_a_threshold_that_tells_nothing_apart_is_refused(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST", 10)
    with pytest.raises(UserError, match="choose a higher threshold"):
        find_duplicates(np.ones((20, 2), np.float32), 0.5)
