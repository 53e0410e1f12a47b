"""NUDGE on cases worked by hand, and against the formulas written out over all documents."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.tuners import nudge
from embedtune.tuners.nudge import nudge_m, nudge_n

AXES = np.eye(2, dtype=np.float32)  # document 0 points east, document 1 north
TRAIN = np.array([[0.6, 0.8]], np.float32)
VALIDATION = np.array([[0.5, math.sqrt(0.75)]], np.float32)  # 60 degrees: nearer to document 1
FIRST = csr_matrix(np.array([[1, 0]], np.float32))


def test_nudge_m_by_hand():
    # The validation query scores document 0 at .5 + gamma * (.5 * .6 + .8660 * .8) and document 1 at .8660:
    # document 0 is first from gamma = .3660 / .9928 = .3687, the start of the only interval.
    gamma = (math.sqrt(0.75) - 0.5) / (0.3 + 0.8 * math.sqrt(0.75))
    moved = nudge_m(AXES, TRAIN, FIRST, VALIDATION, FIRST)

    assert moved.moved_rows.tolist() == [0]
    assert moved.gamma == pytest.approx(gamma, rel=1e-5)
    np.testing.assert_allclose(moved.new_vectors, [[1 + 0.6 * gamma, 0.8 * gamma]], rtol=1e-5)


def test_nudge_n_by_hand():
    # Document 0 turns toward 53.13 degrees and is nearer to the query's 60 degrees than document 1 (at 90)
    # once it has turned by 30, where the squared distance is 2 - 2 cos(30) = .268: .28 is the first above.
    # At .28 the cosine of the turn is 1 - .28 / 2 = .86.
    moved = nudge_n(AXES, TRAIN, FIRST, VALIDATION, FIRST)

    assert moved.moved_rows.tolist() == [0]
    assert moved.gamma == pytest.approx(0.28)
    np.testing.assert_allclose(moved.new_vectors, [[0.86, math.sqrt(1 - 0.86**2)]], rtol=1e-5)


def test_a_document_stops_at_its_queries():
    # The query is .1 away from the document, less than any gamma above .01 would take it.
    near = unit(np.array([[1.0, 0.1]], np.float32))
    moved = nudge_n(AXES, near, FIRST, np.array([[0.69, 0.7238]], np.float32), FIRST)

    assert moved.gamma == pytest.approx(0.02)  # .69 + .07 = .76 / 1.005 of .7238: first once it has moved
    np.testing.assert_allclose(moved.new_vectors, near, rtol=1e-6)


@pytest.mark.parametrize("query", [[1.0, 0.0], [-0.6, 0.8]])
def test_queries_at_the_document_or_behind_it_leave_it_there(query):
    moved = nudge_n(AXES, np.array([query], np.float32), FIRST, VALIDATION, FIRST)

    np.testing.assert_array_equal(moved.new_vectors, AXES[:1])


@pytest.mark.parametrize("method", [nudge_m, nudge_n])
def test_nothing_to_learn_from(method):
    none = csr_matrix((1, 2), dtype=np.float32)
    assert method(AXES, TRAIN, none, VALIDATION, FIRST).new_vectors.shape == (0, 2)
    unjudged = method(3 * AXES, TRAIN, FIRST, VALIDATION, none)
    assert unjudged.gamma == 0
    np.testing.assert_array_equal(unjudged.new_vectors, AXES[:1])  # brought to unit length


@pytest.mark.parametrize(
    ("low", "high", "gamma"),
    [
        ([0.0, 0.1, 0.3], [0.2, 0.2, 0.4], 0.1),  # two overlap from .1 to .2
        ([0.3, 0.0], [0.4, 0.1], 0.0),  # one each: the first
        ([0.0, 0.2], [0.2, 0.5], 0.0),  # at .2 one begins and one ends
        ([0.2], [0.2], 0.0),  # begun and ended at once
        ([], [], 0.0),
    ],
)
def test_the_point_in_most_intervals(low, high, gamma):
    assert nudge._most_covered(np.array(low, np.float32), np.array(high, np.float32)) == np.float32(gamma)


def random_case(seed, size=60):
    rng = np.random.default_rng(seed)
    documents, queries, validation = (
        unit(rng.standard_normal((n, 5))).astype(np.float32) for n in (size, 40, 30)
    )
    relevance, judged = (
        csr_matrix((rng.random((n, size)) < p).astype(np.float32)) for n, p in ((40, 0.02), (30, 0.04))
    )
    return documents, queries, relevance, validation, judged


def moved_everywhere(documents, result):
    vectors = documents.copy()
    vectors[result.moved_rows] = result.new_vectors
    return vectors


@pytest.mark.parametrize("seed", range(6))
def test_gamma_of_nudge_m_is_the_best_of_all(seed):
    documents, queries, relevance, validation, judged = random_case(seed)
    result = nudge_m(documents, queries, relevance, validation, judged)
    target = np.asarray(relevance.T @ queries)
    target /= np.maximum(np.linalg.norm(target, axis=1, keepdims=True), 1e-12)

    def first(gamma):
        scores = validation @ (documents + gamma * target).T
        return int(
            sum(scores[q, d] >= scores[q].max() - 1e-7 for q, d in zip(*judged.nonzero(), strict=True))
        )

    assert first(result.gamma) >= max(first(gamma) for gamma in np.linspace(0, 5, 400))
    np.testing.assert_allclose(
        moved_everywhere(documents, result), documents + result.gamma * target, atol=1e-6
    )


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_gamma_of_nudge_n_has_the_best_accuracy(seed, k):
    documents, queries, relevance, validation, judged = random_case(seed)
    result = nudge_n(documents, queries, relevance, validation, judged, k=k)
    target = np.asarray(relevance.T @ queries)
    labels = judged.toarray()[np.diff(judged.indptr) > 0]
    asked = validation[np.diff(judged.indptr) > 0]

    def turned(gamma):
        """Turn each document to squared distance gamma from its place, at most to its target."""
        vectors = documents.astype(np.float64)
        for row in np.flatnonzero(np.abs(target).sum(axis=1)):
            old, aim = vectors[row], unit(target[row].astype(np.float64))
            if gamma == 0 or old @ aim < 0:
                continue
            cosine = 1 - gamma / 2
            side = unit(aim - (aim @ old) * old)
            vectors[row] = aim if old @ aim >= cosine else cosine * old + math.sqrt(1 - cosine**2) * side
        return vectors

    def accuracy(gamma):
        best = np.argsort(-asked @ turned(gamma).T, axis=1)[:, :k]
        found = np.take_along_axis(labels, best, axis=1).sum(axis=1)
        return (found / np.minimum(labels.sum(axis=1), k)).sum()

    accuracies = [round(accuracy(0.02 * step), 9) for step in range(25)]
    assert result.gamma == 0.02 * int(np.argmax(accuracies))
    np.testing.assert_allclose(moved_everywhere(documents, result), turned(result.gamma), atol=2e-6)


@pytest.mark.parametrize("method", [nudge_m, nudge_n])
def test_the_parts_it_works_in_do_not_show(method, monkeypatch):
    case = random_case(11)
    whole = method(*case)
    for name, size in (("_DOCUMENTS", 7), ("_QUERIES", 5), ("_PAIRS", 3)):
        monkeypatch.setattr(nudge, name, size)
    parts = method(*case)

    assert parts.gamma == pytest.approx(whole.gamma, rel=1e-5)
    np.testing.assert_allclose(parts.new_vectors, whole.new_vectors, atol=1e-6)


@pytest.mark.parametrize("method", [nudge_m, nudge_n])
def test_copies_of_a_document_do_not_stop_each_other(method):
    documents, queries, relevance, validation, judged = random_case(12)
    documents, relevance, judged = np.repeat(documents, 2, axis=0), *(
        csr_matrix(np.repeat(pairs.toarray(), 2, axis=1)) for pairs in (relevance, judged)
    )  # fmt: skip
    once = method(documents[::2], queries, relevance[:, ::2], validation, judged[:, ::2])
    twice = method(documents, queries, relevance, validation, judged)

    if method is nudge_m:
        assert twice.gamma == pytest.approx(once.gamma, rel=1e-6)
    np.testing.assert_allclose(twice.new_vectors[::2], twice.new_vectors[1::2], atol=0)


@pytest.mark.parametrize("method", [nudge_m, nudge_n])
def test_memory_mapped_documents_are_not_changed(method, tmp_path):
    documents, *rest = random_case(13)
    np.save(tmp_path / "documents.npy", documents)
    mapped = np.load(tmp_path / "documents.npy", mmap_mode="r")

    np.testing.assert_array_equal(method(mapped, *rest).new_vectors, method(documents, *rest).new_vectors)
    np.testing.assert_array_equal(mapped, documents)
