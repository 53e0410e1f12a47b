"""Scores to probabilities, against answers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.teachers.base import Scores
from embedtune.teachers.calibrate import TRUSTED, calibrate, softmax


def test_pairs_are_ordered_and_each_is_kept_once() -> None:
    scores = Scores.of(
        np.array([2, 1, 2, 2]), np.array([5, 3, 4, 5]), np.array([0.1, 7, 0.9, 99]),
        np.array([False, False, True, True]),
    )  # fmt: skip
    assert scores.query.tolist() == [1, 2, 2]
    assert scores.document.tolist() == [3, 4, 5]
    assert scores.score.tolist() == [7, 0.9, 0.1]
    assert scores.prompted.tolist() == [False, True, False]
    assert scores.starts.tolist() == [0, 1]
    assert len(scores.take(np.zeros(3, bool)).starts) == 0


def test_softmax_by_hand() -> None:
    scores = Scores.of(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([1.0, 3.0, -50.0]))
    high = math.exp(4) / (math.exp(4) + 1)
    assert softmax(scores, 2.0) == pytest.approx([high, 1 - high, 1.0])


def test_a_teacher_that_is_right_three_times_in_four_says_three_quarters() -> None:
    """Two documents a query, scores 10 and 0; the higher one is right for 75 of 100 queries."""
    query, document = np.repeat(np.arange(100), 2), np.tile([0, 1], 100)
    scores = Scores.of(query, document, np.tile([10.0, 0.0], 100))
    right = np.zeros((100, 2), np.float32)
    right[:75, 0] = right[75:, 1] = 1
    found = calibrate(scores, csr_matrix(right))
    assert (found.queries, found.known, found.first) == (100, 1.0, 0.75)
    assert found.probabilities(scores)[:2] == pytest.approx([0.75, 0.25], abs=1e-3)
    scaled = calibrate(Scores.of(query, document, np.tile([0.01, 0.0], 100)), csr_matrix(right))
    assert scaled.sharpness == pytest.approx(1000 * found.sharpness, rel=1e-3)  # the unit plays no part


def test_documents_that_were_asked_for_do_not_count_as_known() -> None:
    query, document = np.repeat(np.arange(40), 2), np.tile([0, 1], 40)
    prompted = (document == 1) & (query % 2 == 0)  # of every other query the right one was asked for
    scores = Scores.of(query, document, np.tile([0.0, 1.0], 40), prompted)
    found = calibrate(scores, csr_matrix(np.tile([0, 1], (40, 1)).astype(np.float32)))
    assert found.known == 0.5
    assert found.probabilities(scores).max() <= 0.5


def test_with_few_labelled_queries_half_is_believed() -> None:
    scores = Scores.of(np.repeat(np.arange(5), 2), np.tile([0, 1], 5), np.tile([1.0, 0.0], 5))
    found = calibrate(scores, csr_matrix(np.eye(5, 2, dtype=np.float32)))
    assert (found.queries, found.known) == (0, TRUSTED)
    assert found.probabilities(scores).max() <= TRUSTED
    nothing = calibrate(scores, csr_matrix((5, 2), dtype=np.float32))  # none of its queries has labels
    assert (nothing.queries, nothing.known) == (0, TRUSTED)
