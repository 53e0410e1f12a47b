"""Votes, predictions and their measures on examples worked by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score, f1_score
from sklearn.neighbors import KNeighborsClassifier
from unit_length import unit

from embedtune.judging.voting import accuracy, average_precision, chosen_classes, f1, macro_f1, vote
from embedtune.training.items import LabelledItems


def indicators(rows: list[list[int]]) -> csr_matrix:
    return csr_matrix(np.array(rows, np.float64))


def test_votes_are_weighted_by_closeness() -> None:
    # cosines .8, .6, 0 to [1, 0]: 1 / .2 = 5 votes, 1 / .4 = 2.5 votes, the third is not among two
    voters = LabelledItems.of(np.array([[0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32), ["a", "b", "b"])
    share = vote(np.array([[1, 0]], np.float32), voters, k=2)
    np.testing.assert_allclose(share, [[2 / 3, 1 / 3]], atol=1e-6)


def test_inner_products_count_one_vote_each() -> None:
    voters = LabelledItems.of(
        np.array([[9, 0], [1, 0], [2, 0]], np.float32), ["a", "b", "b"], similarity="dot"
    )
    np.testing.assert_allclose(vote(np.array([[1, 0]], np.float32), voters, k=3), [[1 / 3, 2 / 3]])


def test_a_copy_does_not_outvote_by_infinity_and_nobody_is_no_vote() -> None:
    voters = LabelledItems.of(np.array([[1, 0], [1, 0], [0, 1]], np.float32), ["a", "b", "b"])
    x = np.array([[1, 0]], np.float32)
    np.testing.assert_allclose(vote(x, voters, k=2), [[0.5, 0.5]])
    everyone = csr_matrix(np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(vote(x, voters, exclude=everyone), [[0, 0]])


@pytest.mark.parametrize("k", [1, 10])
def test_votes_agree_with_scikit_learn(k) -> None:
    rng = np.random.default_rng(0)
    x, y, asked = (
        unit(rng.standard_normal((60, 5))),
        rng.integers(0, 4, 60),
        unit(rng.standard_normal((30, 5))),
    )
    model = KNeighborsClassifier(k, weights="distance", metric="cosine").fit(x, y)
    voters = LabelledItems.of(x, [str(label) for label in y])
    np.testing.assert_allclose(vote(asked, voters, k=k), model.predict_proba(asked), atol=1e-4)


def test_choosing_one_class_or_all_with_half_of_the_votes() -> None:
    share = np.array([[0.5, 0.5, 0], [0.2, 0.3, 0.4]])
    assert chosen_classes(share, single=True).toarray().tolist() == [[1, 0, 0], [0, 0, 1]]
    assert chosen_classes(share, single=False).toarray().tolist() == [[1, 1, 0], [0, 0, 0]]


def test_accuracy_and_f1_of_sets() -> None:
    labels = indicators([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    predicted = indicators([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert accuracy(predicted, labels).tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(f1(predicted, labels), [2 / 3, 1, 1, 0])


@pytest.mark.parametrize("single", [True, False])
def test_macro_f1_is_scikit_learns(single) -> None:
    rng = np.random.default_rng(1)
    share, truth = rng.random((50, 4)), rng.random((50, 4))
    predicted, labels = chosen_classes(share, single=single), chosen_classes(truth, single=single)
    wanted = f1_score(labels.toarray(), predicted.toarray(), average="macro")
    assert macro_f1(predicted, labels).mean() == pytest.approx(wanted)


def test_values_of_macro_f1_are_its_derivative_by_the_rows_weights() -> None:
    rng = np.random.default_rng(2)
    predicted, labels = (chosen_classes(rng.random((20, 3)), single=True) for _ in range(2))

    def weighted(w: np.ndarray) -> float:
        hit = w @ (predicted.multiply(labels)).toarray()
        return float(np.mean(2 * hit / (w @ (predicted + labels).toarray())))

    ones, step = np.ones(20), 1e-6
    wanted = [
        weighted(ones) + 20 * (weighted(ones + step * e) - weighted(ones - step * e)) / (2 * step)
        for e in np.eye(20)
    ]
    np.testing.assert_allclose(macro_f1(predicted, labels), wanted, rtol=1e-5)


def test_average_precision_by_hand() -> None:
    # ranked a, b, a: precision 1 at rank 1 and 2/3 at rank 3
    pool = LabelledItems.of(unit(np.array([[1, 0.1], [1, 0.5], [1, 1]])), ["a", "b", "a"])
    asked = LabelledItems.of(np.array([[1, 0], [1, 0]], np.float32), ["a", "b"])
    np.testing.assert_allclose(average_precision(asked, pool), [(1 + 2 / 3) / 2, 1 / 2], atol=1e-6)
    without_first = csr_matrix(np.array([[1, 0, 0], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(average_precision(asked, pool, without_first), [1 / 2, 1 / 2], atol=1e-6)


def test_average_precision_agrees_with_scikit_learn_and_is_zero_where_there_is_nothing() -> None:
    rng = np.random.default_rng(3)
    pool = LabelledItems.of(
        unit(rng.standard_normal((40, 4))), [str(i % 3) for i in range(40)], classes="0123"
    )
    asked = LabelledItems.of(unit(rng.standard_normal((5, 4))), list("01230"), classes="0123")
    scores, same = asked.vectors @ pool.vectors.T, (asked.labels @ pool.labels.T).toarray() > 0
    wanted = [average_precision_score(s, p) if s.any() else 0 for s, p in zip(same, scores, strict=True)]
    np.testing.assert_allclose(average_precision(asked, pool), wanted, atol=1e-6)
    assert wanted[3] == 0
