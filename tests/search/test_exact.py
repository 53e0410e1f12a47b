"""Exact search against a naive sort, on whole numbers: every product is exact, and ties abound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse

from embedtune.errors import UserError, VectorError
from embedtune.search import exact, positive_ranks, top_k


def whole_numbers(rng, n, d, high=3):
    return rng.integers(-high, high + 1, (n, d)).astype(np.float32)


def naive_order(queries, documents, exclude=None):
    """Each query's documents, best first, ties by the lower row; excluded ones at the end with -inf."""
    scores = queries.astype(np.float64) @ documents.T.astype(np.float64)
    if exclude is not None:
        scores[exclude.toarray() != 0] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable"), scores


cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "n": st.integers(1, 12),
        "size": st.integers(1, 150),
        "k": st.integers(1, 170),
        "block": st.sampled_from([1, 7, 16, 33, 64, 1000]),
        "excluded": st.sampled_from([None, 0.0, 0.2, 1.0]),
    }
)


def drawn(case):
    rng = np.random.default_rng(case["seed"])
    queries, documents = whole_numbers(rng, case["n"], 3), whole_numbers(rng, case["size"], 3)
    exclude = None
    if case["excluded"] is not None:
        exclude = csr_matrix((rng.random((case["n"], case["size"])) < case["excluded"]).astype(np.float32))
    return rng, queries, documents, exclude


@settings(max_examples=150, deadline=None)
@given(cases)
def test_top_k_is_a_stable_sort(case):
    _, queries, documents, exclude = drawn(case)
    order, scores = naive_order(queries, documents, exclude)
    k = min(case["k"], len(documents))
    expected = order[:, :k]
    expected_scores = np.take_along_axis(scores, expected, axis=1)
    expected = np.where(np.isneginf(expected_scores), -1, expected)

    indices, found = top_k(queries, documents, case["k"], block=case["block"], exclude=exclude)

    assert indices.dtype == np.int64
    assert found.dtype == np.float32
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(found, expected_scores)


@settings(max_examples=150, deadline=None)
@given(cases, st.sampled_from([0.02, 0.5, 1.0]))
def test_positive_ranks_are_places_in_a_stable_sort(case, density):
    rng, queries, documents, exclude = drawn(case)
    positives = rng.random((len(queries), len(documents))) < density
    if exclude is not None:
        positives &= exclude.toarray() == 0
    relevance = csr_matrix(positives.astype(np.float32))
    order, _ = naive_order(queries, documents, exclude)
    places = np.argsort(order, axis=1) + 1
    expected = places[np.repeat(np.arange(len(queries)), np.diff(relevance.indptr)), relevance.indices]

    ranks = positive_ranks(queries, documents, relevance, block=case["block"], exclude=exclude)
    mapped = positive_ranks(
        queries, documents[:, ::-1], relevance, block=case["block"], exclude=exclude,
        document_map=lambda rows: documents[rows],
    )  # fmt: skip

    assert ranks.dtype == np.int32
    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_array_equal(mapped, expected)


def test_the_order_of_the_judgements_is_kept():
    documents = np.eye(3, dtype=np.float32)
    queries = np.array([[3, 2, 1]], np.float32)  # document 0 first, then 1, then 2
    relevance = csr_matrix((np.ones(2, np.float32), np.array([2, 0]), np.array([0, 2])), shape=(1, 3))

    assert positive_ranks(queries, documents, relevance).tolist() == [3, 1]


def test_equal_documents_rank_by_row_whatever_rounding_does():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 384)).astype(np.float32)
    documents = np.repeat(vectors, 2, axis=0)  # rows 2i and 2i + 1 are the same
    queries = vectors + 0.01 * rng.standard_normal(vectors.shape).astype(np.float32)
    first = csr_matrix((np.ones(40), (np.arange(40), 2 * np.arange(40))), shape=(40, 80))
    second = csr_matrix((np.ones(40), (np.arange(40), 2 * np.arange(40) + 1)), shape=(40, 80))
    both = csr_matrix(first + second)

    assert (positive_ranks(queries, documents, both).reshape(40, 2) == [1, 2]).all()
    for relevance in (first, second):  # never worse than second: a positive does not outrank itself
        assert positive_ranks(queries, documents, relevance, block=32).max() <= 2


def test_ranks_agree_with_top_k_on_real_valued_vectors():
    rng = np.random.default_rng(1)
    queries, documents = (rng.standard_normal((n, 48)).astype(np.float32) for n in (30, 500))
    relevance = random_sparse(30, 500, 0.05, format="csr", random_state=2, dtype=np.float32)
    indices, _ = top_k(queries, documents, 500, block=64)
    places = np.argsort(indices, axis=1) + 1
    expected = places[np.repeat(np.arange(30), np.diff(relevance.indptr)), relevance.indices]

    np.testing.assert_array_equal(positive_ranks(queries, documents, relevance, block=100), expected)


def test_several_buffers_of_queries_give_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    queries, documents = whole_numbers(rng, 50, 4), whole_numbers(rng, 90, 4)
    relevance = random_sparse(50, 90, 0.3, format="csr", random_state=4, dtype=np.float32)
    whole = top_k(queries, documents, 5), positive_ranks(queries, documents, relevance)
    monkeypatch.setattr(exact, "_BUFFER", 130)  # 90 documents leave room for a single query

    np.testing.assert_array_equal(top_k(queries, documents, 5)[0], whole[0][0])
    np.testing.assert_array_equal(positive_ranks(queries, documents, relevance), whole[1])


def test_memory_mapped_and_half_precision_documents(tmp_path):
    rng = np.random.default_rng(5)
    queries, documents = whole_numbers(rng, 4, 6), whole_numbers(rng, 70, 6)
    np.save(tmp_path / "documents.npy", documents.astype(np.float16))
    mapped = np.load(tmp_path / "documents.npy", mmap_mode="r")

    np.testing.assert_array_equal(top_k(queries, mapped, 9, block=32)[0], top_k(queries, documents, 9)[0])


def test_negative_zero_ties_with_zero():
    documents = np.array([[-0.0], [0.0], [-1.0]], np.float32)

    assert top_k(np.ones((1, 1), np.float32), documents, 3)[0].tolist() == [[0, 1, 2]]


def test_nothing_to_search():
    queries, documents = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)

    assert top_k(queries, documents[:0], 5)[0].shape == (2, 0)
    assert top_k(queries[:0], documents, 5)[0].shape == (0, 4)
    assert positive_ranks(queries, documents, csr_matrix((2, 4))).shape == (0,)


def test_bad_input_is_named():
    queries, documents = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    pair = csr_matrix(([1.0], ([1], [2])), shape=(2, 4))

    with pytest.raises(VectorError, match="3 dimensions and documents 2"):
        top_k(queries, documents[:, :2], 1)
    with pytest.raises(UserError, match="k is 0"):
        top_k(queries, documents, 0)
    with pytest.raises(VectorError, match=r"relevance has shape \(4, 2\)"):
        positive_ranks(queries, documents, pair.T)
    with pytest.raises(VectorError, match=r"exclude has shape \(4, 2\)"):
        top_k(queries, documents, 1, exclude=pair.T)
    with pytest.raises(UserError, match="query 1 has document 2 both"):
        positive_ranks(queries, documents, pair, exclude=pair)
