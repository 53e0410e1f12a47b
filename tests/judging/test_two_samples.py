"""The two-sample test: exact on a case by hand, seldom wrong on equal samples, right on moved ones."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.judging import two_samples
from embedtune.judging.two_samples import moved


def test_the_energy_distance_by_hand():
    reference, new = np.array([[0.0], [1.0]]), np.array([[4.0], [6.0]])
    found = moved(reference, new)
    across, within, within_new = (4 + 6 + 3 + 5) / 4, 2 * 1 / 4, 2 * 2 / 4
    assert found.coefficient == pytest.approx((2 * across - within - within_new) / (2 * across))
    assert found.far == 1.0
    assert found.places.tolist() == [1, 0]


def test_equal_distributions_are_seldom_told_apart():
    told = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = moved(rng.standard_normal((80, 8)), rng.standard_normal((90, 8)), seed=seed)
        told += found.p_value < 0.01
        assert found.far < 0.25
    assert told <= 2


def test_other_place_other_spread_and_a_part_that_moved_are_found():
    rng = np.random.default_rng(1)
    reference = rng.standard_normal((200, 8))
    same = rng.standard_normal((200, 8))
    part = np.concatenate([same[:140], same[140:] + 3])
    for new in (same + 1, 2 * same, part):
        assert moved(reference, new).p_value == 0.001
    assert moved(reference, part).far >= 0.3
    assert moved(reference, part).places[0] >= 140


def test_many_rows_are_drawn_from_and_the_same_seed_gives_the_same():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((700, 3)), rng.standard_normal((900, 3))
    found, again = moved(x, y, seed=4), moved(x, y, seed=4)
    assert (found.reference, found.new) == (two_samples.MOST, two_samples.MOST)
    assert found.p_value == again.p_value
    assert (found.places == again.places).all()
    assert found.places.max() > two_samples.MOST


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (5, 4))])
def test_what_cannot_be_compared_is_refused(shapes):
    with pytest.raises(ValueError, match="two samples"):
        moved(*map(np.zeros, shapes))
