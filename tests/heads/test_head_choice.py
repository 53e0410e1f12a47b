"""Which kind of head is taken: the usual regression, unless another is right more often beyond chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from embedtune.heads.choice import USUAL, choose
from embedtune.heads.scorers import Both, pooled
from embedtune.judging.logistic import Logistic
from embedtune.judging.voting import Voters
from embedtune.training.items import LabelledItems

OTHER, VOTE, SECOND = ("regression", 100.0), ("vote", 20.0), ("vote", 40.0)


def logits(right: list[bool], sure: float = 2.0) -> np.ndarray:
    """Logits of two classes for items of the first: ``sure`` for it where right, for the second where not."""
    own = np.where(right, sure, 0.0)
    return np.stack([own, sure - own], axis=1)


def first(n: int) -> np.ndarray:
    return np.tile([True, False], (n, 1))


def test_the_usual_stays_where_another_wins_by_chance() -> None:
    # 5 won and none lost: p = 2 * .5^5 = .0625
    usual, other = [False] * 5 + [True] * 15, [True] * 20
    assert choose({USUAL: logits(usual), OTHER: logits(other, 9.0)}, first(20), True).keys == (USUAL,)


def test_another_that_wins_beyond_chance_is_taken() -> None:
    # 6 won and none lost: p = .03125, and one rival
    usual, other = [False] * 6 + [True] * 14, [True] * 20
    assert choose({USUAL: logits(usual), OTHER: logits(other)}, first(20), True).keys == (OTHER,)
    # three rivals, two of them no better: Holm makes it .094
    found = choose({USUAL: logits(usual), OTHER: logits(other), VOTE: logits(usual)}, first(20), True)
    assert found.keys == (USUAL,)


def test_a_lower_loss_alone_is_no_reason() -> None:
    # as often right; the other is unsure exactly where it is wrong
    own = first(40)
    usual = logits([True] * 30 + [False] * 10, 2.0)
    other = np.r_[logits([True] * 30, 4.0), logits([False] * 10, 0.1)]
    assert choose({USUAL: usual, OTHER: other}, own, True).keys == (USUAL,)


def test_both_together_where_each_errs_by_itself() -> None:
    # each is wrong on ten items, but not sure there, and the other one is: together they are always right
    n = 100
    usual, vote = np.tile([3.0, 0.0], (n, 1)), np.tile([3.0, 0.0], (n, 1))
    usual[:10], vote[-10:] = [0.0, 0.5], [0.0, 0.5]
    found = choose({USUAL: usual, VOTE: vote, SECOND: -vote}, first(n), True)
    assert found.keys == (USUAL, VOTE)
    assert found.right.all()
    assert found.temperatures[0] == pytest.approx(found.temperatures[1])


def test_several_classes_an_item_are_right_as_sets() -> None:
    own = np.tile([[True, True], [True, False]], (20, 1))
    other = np.where(own, 3.0, -3.0)
    usual = other.copy()
    usual[:16:2, 1] = -3.0  # the second of two is missed, and no threshold tells it from where it is not
    found = choose({USUAL: usual, OTHER: other}, own, False)
    assert found.keys == (OTHER,)
    assert found.right.all()


def test_the_pool_by_hand() -> None:
    # probabilities (.5, .5) and (.8, .2): the square roots of their products, .4 and .1, over .5
    parts = [np.log([[0.5, 0.5]]), np.log([[0.8, 0.2]])]
    share = np.exp(log_softmax(pooled(parts, (1.0, 1.0), single=True), axis=1))
    root = np.sqrt([0.4, 0.1])
    np.testing.assert_allclose(share, [root / root.sum()])
    # odds of 4 and of 1: their geometric mean is 2, a probability of 2 / 3
    odds = [np.log([[4.0]]), np.log([[1.0]])]
    np.testing.assert_allclose(expit(pooled(odds, (1.0, 1.0), single=False)), [[2 / 3]])
    # a temperature of 2 takes the root of the odds of 4
    np.testing.assert_allclose(np.exp(pooled(odds, (2.0, 1.0), single=False)), [[2**0.5]])


def test_both_have_the_logits_of_the_two() -> None:
    regression = Logistic(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), True)
    vote = Voters(LabelledItems.of(np.eye(2, dtype=np.float32), ["a", "b"]), 2.0, True)
    x = np.array([[0.6, 0.8]], np.float32)
    expected = pooled([regression.logits(x), vote.logits(x)], (0.5, 2.0), single=True)
    np.testing.assert_allclose(Both(regression, vote, (0.5, 2.0)).logits(x), expected)
