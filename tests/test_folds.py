"""Folds that do not leak, whatever the judgements look like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from embedtune.data.splits import ENOUGH, MANY, Fold, folds, hold_out, seen, seen_share


def relevance_of(n: int, documents: int, seed: int, extra: float = 0.5) -> csr_matrix:
    """At least one positive a query; some queries have several, and documents are asked for again."""
    rng = np.random.default_rng(seed)
    rows = np.r_[np.arange(n), rng.integers(0, n, int(extra * n))]
    columns = rng.integers(0, documents, len(rows))
    pairs = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (n, documents))
    pairs.sum_duplicates()
    return pairs


def check(relevance: csr_matrix, fold: Fold, own: np.ndarray | None = None) -> None:
    """No held-out query has a training pair, no document held out with its queries has one."""
    train, whole = fold.train.toarray(), relevance.toarray()
    held = np.r_[fold.by_query, fold.by_document]
    assert len(np.unique(held)) == len(held) > 0
    assert not train[held].any()
    away = whole[fold.by_document].any(axis=0)
    if own is not None:
        away[own[held]] = True
    assert not train[:, away].any()
    expected = whole.copy()  # and nothing else is lost
    expected[held] = 0
    expected[:, away] = 0
    np.testing.assert_array_equal(train, expected)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 120), documents=st.integers(1, 80), seed=st.integers(0, 1000), spread=st.integers(1, 6)
)
def test_few_queries(n: int, documents: int, seed: int, spread: int) -> None:
    relevance = relevance_of(n, documents, seed)
    groups = np.random.default_rng(seed).integers(0, max(1, n // spread), n)
    found = folds(relevance, groups, seed=seed)
    for fold in found:
        check(relevance, fold)
    by_query = np.concatenate([fold.by_query for fold in found])
    by_document = np.concatenate([fold.by_document for fold in found])
    np.testing.assert_array_equal(np.sort(by_query), np.arange(n))  # each once by query
    if len(by_document):
        np.testing.assert_array_equal(np.sort(by_document), np.arange(n))  # and once by document
    else:
        assert relevance.getnnz(axis=0).max() <= 1


@settings(deadline=None, max_examples=60)
@given(n=st.integers(20, 200), seed=st.integers(0, 1000), number=st.integers(2, 60))
def test_near_duplicates_stay_together(n: int, seed: int, number: int) -> None:
    groups = np.random.default_rng(seed).integers(0, number, n)
    relevance = relevance_of(n, 2 * n, seed)
    for fold in folds(relevance, groups, seed=seed):
        held = np.zeros(n, bool)
        held[np.r_[fold.by_query, fold.by_document]] = True
        for group in np.unique(groups):
            members = groups == group
            if members.sum() <= n // 10:
                assert held[members].all() or not held[members].any()


def test_a_group_of_all_queries_is_split() -> None:
    relevance = csr_matrix(np.eye(50, dtype=np.float32))
    found = folds(relevance, np.zeros(50, np.int64))
    assert [len(fold.by_query) for fold in found] == [10] * 5


def test_folds_are_even_where_queries_stand_alone() -> None:
    found = folds(relevance_of(103, 40, 0), np.arange(103))
    sizes = [len(fold.by_query) for fold in found if len(fold.by_query)]
    assert len(sizes) == 5
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n", [MANY, 3000, 20_000])
def test_many_queries(n: int) -> None:
    relevance = relevance_of(n, n // 2, 1)
    found = folds(relevance, np.arange(n), seed=2)
    held = np.concatenate([np.r_[fold.by_query, fold.by_document] for fold in found])
    assert len(np.unique(held)) == len(held)  # nobody is held out twice
    # ceil(10 * 1000 / n) tenths, at least 2 and at most 6
    assert len(found) == {MANY: 6, 3000: 4, 20_000: 2}[n]
    assert len(held) >= min(0.55 * n, ENOUGH)
    for fold in found:
        assert len(fold.by_query) + len(fold.by_document) == pytest.approx(n / 10, rel=0.02)
        assert len(fold.by_query) == pytest.approx(n / 20, rel=0.4)
        if n < 5000:
            check(relevance, fold)


def test_documents_with_one_query_each_are_held_out_by_query_alone() -> None:
    found = folds(csr_matrix(np.eye(30, dtype=np.float32)), np.arange(30))
    assert len(found) == 5
    assert not any(len(fold.by_document) for fold in found)


def test_the_seed_decides() -> None:
    relevance = relevance_of(100, 60, 0)
    one, same, other = (folds(relevance, np.arange(100), seed=s) for s in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        assert a.by_query.tobytes() == b.by_query.tobytes()
        assert (a.train != b.train).nnz == 0
    assert any(not np.array_equal(a.by_query, b.by_query) for a, b in zip(one, other, strict=True))


def test_grades_come_through() -> None:
    relevance = csr_matrix(np.diag(np.arange(1, 21)).astype(np.float32))
    fold = folds(relevance, np.arange(20))[0]
    kept = fold.train.toarray().diagonal()
    np.testing.assert_array_equal(kept[kept > 0], np.delete(np.arange(1, 21), fold.by_query))


def test_seen_by_hand() -> None:
    train = csr_matrix(np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32))
    rows = csr_matrix(np.array([[0, 1, 1, 0], [0, 0, 1, 1], [2, 0, 0, 0]], np.float32))
    assert seen(rows, train).tolist() == [True, False, True]


def test_seen_share_by_hand() -> None:
    # documents 0 and 1 have two queries; queries 0, 1, 2 have one of them, query 3 has document 2 alone
    relevance = csr_matrix(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], np.float32))
    assert seen_share(relevance) == 0.75


def test_made_queries_are_never_held_out_and_near_duplicates_of_held_ones_do_not_train() -> None:
    """Real queries 0-19 on a document each; made 20-39 say the same as those, 40-59 something else."""
    documents = np.r_[np.arange(20), np.arange(20), np.arange(20)]
    relevance = csr_matrix((np.ones(60, np.float32), (np.arange(60), documents)), shape=(60, 20))
    groups = np.r_[np.arange(20), np.arange(20), np.arange(20, 40)]
    made = np.arange(60) >= 20
    found = folds(relevance, groups, made=made, seed=0)
    assert sum(len(one.by_document) for one in found) == 20
    for one in [*found, hold_out(relevance, groups, share=0.2, most=100, made=made, seed=0)]:
        held = np.r_[one.by_query, one.by_document]
        real = held[held < 20]
        trained = np.flatnonzero(np.diff(one.train.indptr))
        assert len(real)
        assert not np.isin(groups[trained], groups[real]).any()
        assert set(held) - set(real) == {row + 20 for row in real}  # near-duplicates alone
        gone = one.by_document[one.by_document < 20]
        assert not np.isin(one.train.indices, gone).any()  # no label of any kind on those documents
        others = [row + 40 for row in real if row not in gone]
        assert np.isin(others, trained).all()
