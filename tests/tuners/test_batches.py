"""Batches: every query once, known positives never negatives, even sizes, hard negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from embedtune.data.negatives import hard_negatives
from embedtune.tuners import TuningData, batches
from embedtune.tuners.batches import Batches


def data_of(n: int, documents: int, seed: int, density: float = 0.05) -> TuningData:
    rng = np.random.default_rng(seed)
    positives = (rng.random((n, documents)) < density / 2).astype(np.float32)
    positives[np.arange(n), rng.integers(0, documents, n)] = 1
    known = np.maximum(positives, rng.random((n, documents)) < density).astype(np.float32)
    vectors = rng.standard_normal((n + documents, 4)).astype(np.float32)
    return TuningData(
        vectors[:n], vectors[n:], csr_matrix(positives), csr_matrix(known), list(map(str, range(documents)))
    )


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 40),
    documents=st.integers(8, 300),
    size=st.integers(1, 20),
    hard=st.integers(0, 4),
    sample=st.integers(0, 20),
    seed=st.integers(0, 5),
)
def test_what_every_pass_holds(n, documents, size, hard, sample, seed) -> None:
    train = data_of(n, documents, seed)
    made = Batches(train, size=size, hard=hard, sample=sample, rng=np.random.default_rng(seed))
    made.mine(train.queries, lambda rows: train.documents[rows])
    turn = list(made)

    assert len(turn) == len(made)
    np.testing.assert_array_equal(np.sort(np.concatenate([b.queries for b in turn])), np.arange(n))
    lengths = [len(b.queries) for b in turn]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    positives, known = train.positives.toarray(), train.known.toarray()
    for batch in turn:
        assert (np.diff(batch.columns) > 0).all()
        is_positive = np.zeros((len(batch.queries), len(batch.columns)))
        is_positive[batch.positive] = 1
        in_full = np.zeros((len(batch.queries), documents))
        in_full[:, batch.columns] = is_positive
        np.testing.assert_array_equal(in_full, positives[batch.queries])  # all positives are in the batch
        masked = np.zeros(is_positive.shape)
        masked[batch.masked] = 1
        np.testing.assert_array_equal(masked, known[np.ix_(batch.queries, batch.columns)])
        by_query = np.bincount(batch.positive[0], batch.weight, minlength=len(batch.queries))
        np.testing.assert_allclose(by_query, 1, rtol=1e-5)


def test_the_same_generator_gives_the_same_batches() -> None:
    train = data_of(30, 300, 0)
    first, second = (
        list(Batches(train, size=7, hard=0, sample=9, rng=np.random.default_rng(5))) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.queries, b.queries)
        np.testing.assert_array_equal(a.columns, b.columns)


def test_a_small_collection_competes_as_a_whole() -> None:
    train = data_of(10, 12, 0)
    made = Batches(train, size=10, hard=2, sample=4, rng=np.random.default_rng(0))
    made.mine(train.queries, lambda rows: pytest.fail("nothing is to be mined"))
    assert next(iter(made)).columns.tolist() == list(range(12))


def test_hard_and_judged_negatives_compete() -> None:
    train = data_of(6, 400, 1)
    judged = csr_matrix((np.ones(6, np.float32), (np.arange(6), np.arange(6) + 390)), shape=(6, 400))
    train = replace(train, negatives=judged)
    made = Batches(train, size=6, hard=3, sample=2, rng=np.random.default_rng(0))
    made.mine(train.queries, lambda rows: train.documents[rows])
    (batch,) = list(made)

    assert made.found.shape == (6, 3)
    assert not train.known.toarray()[np.arange(6)[:, None], made.found].any()
    assert set(made.found.ravel()) <= set(batch.columns)
    assert set(range(390, 396)) <= set(batch.columns)


def test_mining_in_a_sample_of_a_large_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MINE_AGAINST", 50)
    train = data_of(5, 400, 2)
    asked: list[int] = []

    def documents(rows) -> np.ndarray:
        asked.append(len(train.documents[rows]))
        return train.documents[rows]

    made = Batches(train, size=5, hard=3, sample=2, rng=np.random.default_rng(0))
    made.mine(train.queries, documents)
    assert asked == [50]
    assert not train.known.toarray()[np.arange(5)[:, None], made.found].any()
    assert made.found.max() >= 50  # rows of the collection, not of the sample


def test_hard_negatives_are_the_nearest_that_are_not_known() -> None:
    queries = np.array([[1, 0], [0, 1]], np.float32)
    documents = np.array([[0.9, 0], [0.5, 0.4], [0.1, 0.8]], np.float32)
    # query 0 scores .9, .5, .1 and knows document 0; query 1 scores 0, .4, .8 and knows 1 and 2
    known = csr_matrix(np.array([[1, 0, 0], [0, 1, 1]], np.float32))
    assert hard_negatives(queries, documents, known, 2).tolist() == [[1, 2], [0, -1]]
    assert hard_negatives(queries, documents, known, 9).tolist() == [[1, 2, -1], [0, -1, -1]]


def test_missing_hard_negatives_are_left_out(make_world: Callable) -> None:
    world = make_world(20, 300)
    known = np.ones((20, 300), np.float32)
    train = replace(world.data, known=csr_matrix(known))
    made = Batches(train, size=20, hard=4, sample=1, rng=np.random.default_rng(0))
    made.mine(train.queries, lambda rows: train.documents[rows])
    (batch,) = list(made)
    assert (made.found == -1).all()
    assert batch.columns.min() >= 0
    assert set(batch.columns) >= set(train.pairs[1])


def test_documents_without_labels_are_told_by_their_weight() -> None:
    pairs = csr_matrix(np.eye(4, 6, dtype=np.float32))
    data = TuningData(
        np.eye(4, dtype=np.float32), np.ones((6, 4), np.float32), pairs, pairs, [str(i) for i in range(6)]
    )
    rng = np.random.default_rng(0)
    weighted = Batches(data, size=4, hard=0, sample=6, rng=rng, unlabelled=0.3)
    (batch,) = list(weighted)
    assert batch.columns.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(np.exp(batch.shift), [1, 1, 1, 1, 0.3, 0.3], rtol=1e-6)
    (plain,) = list(Batches(data, size=4, hard=0, sample=6, rng=rng))
    assert plain.shift is None
    few = data.among_labelled()
    assert few.document_ids == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(few.positives.toarray(), np.eye(4))
