"""Pseudo-queries: as queries of their own, at the weight that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.training.of_documents import PseudoQueries
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Linear
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.ridge import RidgeTuner
from embedtune.tuners.with_pseudo import WithPseudoQueries, with_pseudo_queries


@pytest.fixture
def pseudo(graded: TuningData) -> PseudoQueries:
    return PseudoQueries(graded.documents[[1, 3, 5]] * np.float32(-1), np.array([1, 3, 5]))


def test_they_are_queries_with_one_document_each(graded: TuningData, pseudo: PseudoQueries) -> None:
    made = with_pseudo_queries(replace(graded, pseudo=pseudo), 3.0)
    np.testing.assert_array_equal(made.queries, np.concatenate([graded.queries, pseudo.vectors]))
    expected = np.zeros((3, 6))
    expected[[0, 1, 2], [1, 3, 5]] = 1
    np.testing.assert_array_equal(made.positives.toarray()[4:], expected)
    np.testing.assert_array_equal(made.known.toarray()[4:], expected)
    np.testing.assert_array_equal(made.positives.toarray()[:4], graded.positives.toarray())
    np.testing.assert_allclose(made.weight, [1, 1, 1, 1, 4, 4, 4])  # together three times the four labels
    assert made.pseudo is None


def test_own_weights_and_judged_negatives_stay(graded: TuningData, pseudo: PseudoQueries) -> None:
    weight = np.array([2, 0, 1, 1], np.float32)
    negatives = csr_matrix((np.ones(1, np.float32), ([2], [4])), shape=(4, 6))
    made = with_pseudo_queries(replace(graded, pseudo=pseudo, weight=weight, negatives=negatives), 1.5)
    np.testing.assert_allclose(made.weight, [2, 0, 1, 1, 2, 2, 2])
    assert made.negatives is not None
    np.testing.assert_array_equal(made.negatives.toarray()[:4], negatives.toarray())
    assert not made.negatives.toarray()[4:].any()


def test_without_them_the_data_is_the_same(graded: TuningData) -> None:
    assert with_pseudo_queries(graded, 3.0) is graded
    none = PseudoQueries(np.empty((0, 3), np.float32), np.empty(0, np.int64))
    assert with_pseudo_queries(replace(graded, pseudo=none), 3.0).queries is graded.queries
    found, expected = (tuner.fit(graded) for tuner in (WithPseudoQueries(RidgeTuner()), RidgeTuner()))
    np.testing.assert_array_equal(found.query, expected.query)


def test_maps_below_move_them_as_queries_and_cuts_renumber_them(
    graded: TuningData, pseudo: PseudoQueries
) -> None:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0].astype(np.float32)
    data = replace(graded, pseudo=pseudo)
    mapped = data.mapped(Linear(turn, None, normalise=True)).pseudo
    assert mapped is not None
    np.testing.assert_allclose(mapped.vectors, pseudo.vectors @ turn.T, atol=1e-6)
    cut = data.among_labelled()  # document 3 has no label
    assert cut.pseudo is not None
    names = [cut.document_ids[row] for row in cut.pseudo.documents]
    assert names == ["d1", "d5"]
    np.testing.assert_array_equal(cut.pseudo.vectors, pseudo.vectors[[0, 2]])


def test_few_labels_gain_on_other_documents_by_what_these_say_of_themselves(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(100, 400, d=24, turn=0.6, noise=0.3)
    few = world.train.take(np.arange(8))
    rng = np.random.default_rng(1)
    rows = np.setdiff1d(np.arange(400), world.held_out.relevance.indices)
    said = world.train.documents[rows] @ world.map.T
    said += 0.3 * rng.standard_normal(said.shape).astype(np.float32) / np.sqrt(24)
    said /= np.linalg.norm(said, axis=1, keepdims=True)
    train = replace(few, pseudo=PseudoQueries(said, rows))
    tuner = LinearTuner(sides="query")
    alone, beside = (
        world.gain(one.fit(train.training(train.relevance))) for one in (tuner, WithPseudoQueries(tuner))
    )
    assert beside > 0.05 > 3 * alone


def test_a_pool_keeps_their_documents(
    make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedtune.judging.labelled.POOL", 300)
    world = make_world(20, 2000)
    rows = np.array([5, 77, 1999])
    problem = replace(world.train, pseudo=PseudoQueries(world.train.documents[rows], rows))
    pool = problem.pooled(0)
    assert len(pool.documents) < 600
    assert pool.pseudo is not None
    np.testing.assert_array_equal(pool.documents[pool.pseudo.documents], problem.pseudo.vectors)
