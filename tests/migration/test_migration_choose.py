"""How many documents are encoded anew, which map is chosen, and what counts as kept."""

from __future__ import annotations

import numpy as np
import pytest
from unit_length import unit

from embedtune.migration.choose import choose, cosines, gather, kept_neighbours


@pytest.fixture
def models():
    """Two models of 12,000 documents: the second is a turn of the first."""
    rng = np.random.default_rng(0)
    old = unit(rng.standard_normal((12_000, 6)))
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0].astype(np.float32)
    return old, unit(old @ turn.T)


def test_the_sample_stops_growing_when_the_curve_is_flat(models):
    old, new = models
    drawn = gather(old, lambda rows: new[rows], asked=None, normalise=True, seed=0)
    assert len(drawn.rows) == 2000  # 1,000 tell how good the map is, 2,000 that more do not help
    assert [n for n, _ in drawn.curve] == [800, 1800]
    assert drawn.curve[-1][1] > 0.99
    assert np.array_equal(drawn.new, new[drawn.rows])
    assert len(np.unique(drawn.rows)) == 2000


def test_a_sample_of_a_size_that_is_asked_for(models):
    old, new = models
    drawn = gather(old, lambda rows: new[rows], asked=700, normalise=True, seed=0)
    assert len(drawn.rows) == 700
    assert len(gather(old, lambda rows: new[rows], asked=10**6, normalise=True, seed=0).rows) == 12_000


def test_a_map_that_the_data_has_is_chosen_and_keeps_all(models):
    old, new = models
    chosen = choose(old[:600], new[:600], normalise=True, seed=0)
    assert chosen.name == "procrustes"
    assert chosen.neighbours.mean() > 0.99
    assert chosen.held_out == pytest.approx(new[:600], abs=1e-3)
    assert set(chosen.tried) == {"procrustes", "affine"}


def test_nothing_is_kept_where_nothing_can_be_learned(models):
    old, _ = models
    other = unit(np.random.default_rng(5).standard_normal((600, 6)))
    chosen = choose(old[:600], other, normalise=True, seed=0)
    assert chosen.neighbours.mean() < 0.1


def test_neighbours_that_are_kept_by_hand():
    new = unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]]))
    assert kept_neighbours(new, new, np.array([0, 2])).tolist() == [1, 1]
    assert kept_neighbours(new[:1], new[:1], np.array([0])).tolist() == [1]
    rng = np.random.default_rng(0)
    x, y = unit(rng.standard_normal((40, 3))), unit(rng.standard_normal((40, 3)))
    asked = np.array([3, 17])
    slow = []
    for row in asked:
        a, b = (np.argsort(-(side @ x[row]), kind="stable") for side in (x, y))
        slow.append(len(set(a[a != row][:10]) & set(b[b != row][:10])) / 10)
    assert kept_neighbours(x, y, asked).tolist() == slow


def test_cosines_by_hand():
    a = np.float32([[3, 4], [0, 0], [1, 0]])
    b = np.float32([[3, 4], [1, 0], [0, 2]])
    assert cosines(a, b) == pytest.approx([1, 0, 0])
