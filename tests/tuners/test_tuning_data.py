"""What tuners are given: pairs and their weights, targets, and the budget."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.tuners import TUNERS, Budget, Tuner, TuningData
from embedtune.tuners.batches import Batches


def test_weights_are_shares_of_a_querys_grades(graded: TuningData) -> None:
    rows, columns, weight = graded.pairs
    assert rows.tolist() == [0, 0, 1, 2, 2, 3]
    assert columns.tolist() == [0, 1, 2, 2, 5, 4]
    np.testing.assert_allclose(weight, [1 / 4, 3 / 4, 1, 1 / 2, 1 / 2, 1])  # grades 1, 3 | 1 | 2, 2 | 5


def test_targets_are_weighted_means_of_the_positives() -> None:
    documents = np.array([[1, 0], [0, 1], [3, 3]], np.float32)
    positives = csr_matrix(np.array([[1, 3, 0], [0, 0, 2]], np.float32))
    data = TuningData(np.eye(2, dtype=np.float32), documents, positives, positives, "abc")
    # (1 * (1, 0) + 3 * (0, 1)) / 4 = (.25, .75); a single positive is its own mean
    np.testing.assert_allclose(data.targets(), [[0.25, 0.75], [3, 3]])


def test_queries_that_count_less_pull_less(graded: TuningData) -> None:
    half = replace(graded, weight=np.array([0.5, 1, 1, 1], np.float32))
    rng = np.random.default_rng(0)
    (batch,) = list(Batches(half, size=4, hard=0, sample=99, rng=rng))
    np.testing.assert_allclose(np.bincount(batch.positive[0], batch.weight), [0.5, 1, 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(half.targets(), graded.targets())


def test_without_a_deadline_time_never_ends() -> None:
    assert Budget().left == float("inf")
    assert Budget(time.monotonic() - 1).left < 0
    assert 50 < Budget(time.monotonic() + 60).left <= 60


def test_progress_is_told_to_whoever_listens() -> None:
    told: list[tuple[str, int, int]] = []
    Budget(progress=lambda *args: told.append(args)).tell("tune", 1, 2)
    Budget().tell("tune", 1, 2)
    assert told == [("tune", 1, 2)]


@pytest.mark.parametrize("name", list(TUNERS))
def test_entries_are_tuners_under_their_own_names(name: str) -> None:
    tuner = TUNERS.load(name)()
    assert isinstance(tuner, Tuner)
    assert tuner.name == name
    assert tuner.needs in ("vectors", "weights")
    assert set(tuner.tasks) <= {"retrieval", "classification", "similarity", "recommendation"}
