"""Labelled vectors: what trains, what is searched, and the same scores whichever way they are made."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.judging import labelled as module
from embedtune.judging.labelled import Labelled
from embedtune.transforms import Chain, Identity, ItemDeltas, Linear


@pytest.fixture
def labelled() -> Labelled:
    """Give 12 queries over 40 documents, with grades and several positives."""
    rng = np.random.default_rng(0)
    grades = np.zeros((12, 40), np.float32)
    grades[np.arange(12), rng.integers(0, 40, 12)] = 1
    grades[:4, 20:22] = [2, 3]
    ids = [f"d{i}" for i in range(40)]
    q, z = unit(rng.standard_normal((12, 5))), unit(rng.standard_normal((40, 5)))
    return Labelled(q, z, csr_matrix(grades), ids, np.arange(12))


def slow_ndcg(labelled: Labelled, transform, k: int = 10) -> list[float]:
    q = transform.queries(labelled.queries)
    z = transform.documents(labelled.documents, labelled.document_ids)
    out = []
    for i, row in enumerate(labelled.relevance.toarray()):
        order = sorted(range(len(z)), key=lambda j: (-float(q[i] @ z[j]), j))
        got = sum(row[j] / math.log2(place + 2) for place, j in enumerate(order[:k]))
        best = sum(grade / math.log2(place + 2) for place, grade in enumerate(sorted(row)[::-1][:k]))
        out.append(got / best)
    return out


def maps(d: int) -> list:
    rng = np.random.default_rng(2)
    w = rng.standard_normal((d, d)).astype(np.float32)
    deltas = ItemDeltas(("d3", "d20", "1"), rng.standard_normal((3, d)).astype(np.float32))
    return [Identity(), Linear(w), Linear.shared(w), deltas, Chain((Linear(w, w[::-1]), deltas))]


@pytest.mark.parametrize("number", range(5))
def test_scores_are_those_of_sorting_everything(number: int, labelled: Labelled) -> None:
    transform = maps(labelled.queries.shape[1])[number]
    got = labelled.scores(transform, ("ndcg@10",))["ndcg@10"]
    np.testing.assert_allclose(got, slow_ndcg(labelled, transform), atol=1e-6)


@pytest.mark.parametrize("number", range(5))
def test_block_by_block_gives_the_same(number: int, labelled: Labelled, monkeypatch) -> None:
    metrics = ("ndcg@10", "mrr@10", "recall@10", "far")
    transform = maps(labelled.queries.shape[1])[number]
    direct = labelled.scores(transform, metrics)
    monkeypatch.setattr(module, "MAP_AT_ONCE", 0)
    in_blocks = labelled.scores(transform, metrics)
    for name in metrics:
        np.testing.assert_array_equal(in_blocks[name], direct[name])


def test_nobody_asks_no_scores(labelled: Labelled) -> None:
    nobody = labelled.take(np.empty(0, np.int64))
    assert nobody.scores(Identity(), ("map",))["map"].shape == (0,)


def test_taking_rows_takes_all_that_belongs_to_them(labelled: Labelled) -> None:
    negatives = csr_matrix(np.eye(12, 40, dtype=np.float32))
    marks = np.arange(12) % 2 == 1
    some = replace(labelled, negatives=negatives, outside=marks, made=marks).take(np.array([4, 1]))
    assert len(some) == 2
    np.testing.assert_array_equal(some.queries, labelled.queries[[4, 1]])
    np.testing.assert_array_equal(some.relevance.toarray(), labelled.relevance.toarray()[[4, 1]])
    assert some.groups.tolist() == [4, 1]
    assert some.outside.tolist() == some.made.tolist() == [False, True]
    assert some.negatives.toarray().argmax(axis=1).tolist() == [4, 1]
    assert len(some.documents) == 40


def test_made_queries_train_and_are_not_judged(labelled: Labelled) -> None:
    made = np.arange(12) < 6
    rounds = replace(labelled, made=made).rounds(0)
    assert {row for one in rounds for row in one.held.tolist()} == set(range(6, 12))
    assert all(np.diff(one.train.indptr)[:6].any() for one in rounds)
    assert all(len(mask) == len(one.held) for one in rounds for mask in (one.natural, *one.strata.values()))


def test_training_knows_held_out_positives_and_leaves_out_queries_without_any(labelled: Labelled) -> None:
    positives = labelled.relevance.toarray()
    positives[3:] = 0
    positives[0, 20] = 0
    data = labelled.training(csr_matrix(positives))
    assert len(data.queries) == 3
    assert data.positives.nnz == (positives > 0).sum()
    np.testing.assert_array_equal(data.known.toarray(), labelled.relevance.toarray()[:3])


def test_a_pool_keeps_what_is_judged_and_what_is_near(labelled: Labelled, monkeypatch) -> None:
    rng = np.random.default_rng(5)
    z = unit(np.vstack([labelled.documents, rng.standard_normal((960, 5))]))
    relevance = csr_matrix(
        (labelled.relevance.data, labelled.relevance.indices, labelled.relevance.indptr), (12, 1000)
    )
    judged = csr_matrix((np.ones(1, np.float32), ([0], [999])), (12, 1000))
    large = replace(
        labelled,
        documents=z,
        relevance=relevance,
        negatives=judged,
        document_ids=[f"d{i}" for i in range(1000)],
    )
    assert large.pooled(0) is large
    monkeypatch.setattr(module, "POOL", 400)
    pool = large.pooled(0)

    assert len(pool.documents) <= 400
    rows = [int(name[1:]) for name in pool.document_ids]
    np.testing.assert_array_equal(pool.documents, z[rows])
    assert pool.relevance.nnz == relevance.nnz
    for before, after in ((relevance, pool.relevance), (judged, pool.negatives)):
        np.testing.assert_array_equal(after.toarray(), before.toarray()[:, rows])
    for q in large.queries:
        assert set(np.argsort(-(z @ q))[:5]) <= set(rows)
    np.testing.assert_array_equal(large.pooled(0).documents, pool.documents)
    assert large.pooled(1).document_ids != pool.document_ids
