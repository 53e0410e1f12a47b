"""NUDGE as published: move each labelled document toward the sum of its training queries.

How far all of them move is one number, gamma, chosen on validation queries. Only documents with
training queries move, and a moved document's score is linear in two products that are computed
once; so only those are looked at again, never the whole corpus and never its labels as a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.types import Vectors

Rows = NDArray[np.int64]

GAMMAS = tuple(0.02 * step for step in range(25))
"""What NUDGE-N tries: squared distances between a document's old and new place."""

_EPS = np.float32(1e-8)
_NEVER = np.float32(1e8)
_DOCUMENTS, _QUERIES, _PAIRS = 256, 256, 64
"""Taken at a time: small, so that the moved vectors are nearly all the memory that is needed."""


class Nudged(NamedTuple):
    """Documents that have a new place."""

    moved_rows: Rows
    """Rows of the documents with training queries, ascending, int64 (m,)."""
    new_vectors: Vectors
    """Their vectors, float32 (m, d)."""
    gamma: float
    """How far they went; 0 leaves them where they were."""


class _Pairs(NamedTuple):
    """Validation queries and their positives."""

    queries: Vectors
    """(n, d): those with a positive."""
    query: Rows
    """Row in ``queries`` of each pair, ascending, (p,)."""
    document: Rows
    """Document of each pair, (p,)."""
    column: Rows
    """Place of the document among the moved ones, (p,); -1 where it does not move."""


def nudge_m(
    documents: Vectors,
    queries: Vectors,
    relevance: csr_matrix,
    validation_queries: Vectors,
    validation_relevance: csr_matrix,
) -> Nudged:
    """NUDGE-M: add gamma times the direction of the training queries' sum; score by inner product.

    Gamma is the point that lies in the most intervals within which a validation positive is first.

    Parameters
    ----------
    documents : float32 array of shape (N, d)
        Brought to unit length row by row, if they are not; may be memory-mapped.
    queries : float32 array of shape (n, d)
        Training queries, unit length.
    relevance : csr_matrix of shape (n, N)
        Training pairs: stored entries above 0. The grades do not count.
    validation_queries : float32 array of shape (v, d)
        Unit length.
    validation_relevance : csr_matrix of shape (v, N)
        Validation pairs.

    Returns
    -------
    Nudged
        The new vectors are *not* of unit length: normalising them undoes part of the method.

    References
    ----------
    Zeighami, Wellmer and Parameswaran 2024, arXiv:2409.02343, section 3.2; gamma as in nudge-ft 0.1.2.
    """
    moved, target = _sums(queries, relevance)
    _normalise(target)
    pairs = _pairs(validation_queries, validation_relevance, moved)
    low, high = _winning_intervals(documents, moved, target, pairs)
    gamma = _most_covered(low, high)
    for rows in _parts(len(moved), _DOCUMENTS):
        target[rows] = _unit_rows(documents, moved[rows]) + gamma * target[rows]
    return Nudged(moved, target, float(gamma))


def nudge_n(
    documents: Vectors,
    queries: Vectors,
    relevance: csr_matrix,
    validation_queries: Vectors,
    validation_relevance: csr_matrix,
    k: int = 1,
) -> Nudged:
    """NUDGE-N: turn documents on the unit sphere toward their training queries' sum.

    Gamma is the smallest of :data:`GAMMAS` with the best top-``k`` accuracy on validation.

    Parameters
    ----------
    documents : float32 array of shape (N, d)
        Brought to unit length row by row, if they are not; may be memory-mapped.
    queries : float32 array of shape (n, d)
        Training queries, unit length.
    relevance : csr_matrix of shape (n, N)
        Training pairs: stored entries above 0. The grades do not count.
    validation_queries : float32 array of shape (v, d)
        Unit length. Those without a positive are left out.
    validation_relevance : csr_matrix of shape (v, N)
        Validation pairs.
    k : int
        Accuracy counts the positives among the best ``k``, over the most that could be there.

    Returns
    -------
    Nudged
        The new vectors have unit length.

    References
    ----------
    Zeighami, Wellmer and Parameswaran 2024, arXiv:2409.02343, section 3.3; gamma as in nudge-ft 0.1.2,
    which gives NaN where a document points exactly the way of its queries' sum: here it stays there.
    """
    moved, target = _sums(queries, relevance)
    pairs = _pairs(validation_queries, validation_relevance, moved)
    along, square = _products(documents, moved, target)
    gamma = 0.0
    if len(pairs.query) and len(moved):
        weights = [_weights(value, along, square) for value in GAMMAS]
        hits = _hits(documents, moved, target, pairs, weights, k)
        possible = np.minimum(np.bincount(pairs.query), k)[pairs.query]
        gamma = GAMMAS[int(np.argmax(np.round((hits / possible).sum(axis=1), 9)))]
    of_document, of_target = _weights(gamma, along, square)
    for rows in _parts(len(moved), _DOCUMENTS):
        old = _unit_rows(documents, moved[rows])
        target[rows] = of_document[rows, None] * old + of_target[rows, None] * target[rows]
    return Nudged(moved, target, gamma)


# --- both methods --------------------------------------------------------------------------------


def _sums(queries: Vectors, relevance: csr_matrix) -> tuple[Rows, Vectors]:
    """Documents with training queries, and the sums (m, d) of those."""
    pairs = relevance.tocoo()
    positive = pairs.data > 0
    moved, column = np.unique(pairs.col[positive], return_inverse=True)
    ones = np.ones(len(column), np.float32)
    member = csr_matrix((ones, (column, pairs.row[positive])), shape=(len(moved), len(queries)))
    return moved.astype(np.int64), np.asarray(member @ np.asarray(queries, np.float32), np.float32)


def _pairs(queries: Vectors, relevance: csr_matrix, moved: Rows) -> _Pairs:
    judged = relevance.tocoo()
    positive = judged.data > 0
    order = np.lexsort((judged.col[positive], judged.row[positive]))
    row, document = judged.row[positive][order], judged.col[positive][order].astype(np.int64)
    used, query = np.unique(row, return_inverse=True)
    column = np.searchsorted(moved, document)
    inside = np.append(moved, -1)[column] == document
    chosen = queries if len(used) == len(queries) else queries[used]
    return _Pairs(
        np.ascontiguousarray(chosen, np.float32),
        query.astype(np.int64),
        document,
        np.where(inside, column, -1),
    )


def _parts(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _unit_rows(documents: Vectors, rows: Rows) -> Vectors:
    vectors = np.array(documents[rows], np.float32)
    _normalise(vectors)
    return vectors


def _normalise(vectors: Vectors) -> None:
    vectors /= np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), 1e-12)[:, None]


def _unmoved_scores(
    documents: Vectors, moved: Rows, queries: Vectors
) -> Iterator[tuple[slice, Rows, Vectors]]:
    """Yield (rows of queries, documents that stay, their scores)."""
    stays = np.ones(len(documents), np.bool_)
    stays[moved] = False
    rows = np.flatnonzero(stays)
    height = _height(len(queries))
    for part in _parts(len(rows), _DOCUMENTS):
        vectors = _unit_rows(documents, rows[part])
        for some in _parts(len(queries), height):
            yield some, rows[part], _multiply(queries[some], vectors, height)


def _moved_scores(
    documents: Vectors, moved: Rows, target: Vectors, pairs: _Pairs
) -> Iterator[tuple[slice, slice, Vectors, Vectors]]:
    """Yield (moved documents, pairs, and for the pairs' queries the products with documents and targets)."""
    height = _height(len(pairs.queries))
    for part in _parts(len(moved), _DOCUMENTS):
        vectors = _unit_rows(documents, moved[part])
        for some in _parts(len(pairs.queries), height):
            queries = pairs.queries[some]
            old, new = _multiply(queries, vectors, height), _multiply(queries, target[part], height)
            first, last = np.searchsorted(pairs.query, [some.start, some.stop])
            for chunk in _parts(last - first, _PAIRS):
                these = slice(int(first) + chunk.start, int(first) + chunk.stop)
                rows = pairs.query[these] - some.start
                yield part, these, old[rows], new[rows]


def _own_products(
    documents: Vectors, moved: Rows, target: Vectors, pairs: _Pairs
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Products of each pair's query with its own document and that one's target, (p,); 0 where it stays."""
    own_old, own_new = np.zeros((2, len(pairs.query)), np.float32)
    moves = np.flatnonzero(pairs.column >= 0)
    height = _height(len(pairs.queries))
    for part in _parts(len(moves), min(_DOCUMENTS, height)):
        these = moves[part]
        queries, column = pairs.queries[pairs.query[these]], pairs.column[these]
        own_old[these] = _multiply(queries, _unit_rows(documents, moved[column]), height).diagonal()
        own_new[these] = _multiply(queries, target[column], height).diagonal()
    return own_old, own_new


def _height(n: int) -> int:
    """Give the queries of a tile: ``n`` in equal parts, so that the last one is as full as the others."""
    return max(16, -(-n // max(1, -(-n // _QUERIES))))


def _multiply(queries: Vectors, vectors: Vectors, height: int) -> Vectors:
    """Scores of a tile, always multiplied at its full size: a product's last bits depend on the shape.

    Copies of a document with the same queries must have the very same scores, as their
    differences are divided by each other.
    """
    d = queries.shape[1]
    left = queries if len(queries) == height else np.resize(queries, (height, d))
    right = vectors if len(vectors) == _DOCUMENTS else np.resize(vectors, (_DOCUMENTS, d))
    return (left @ right.T)[: len(queries), : len(vectors)]


def _own_places(column: Rows, part: slice) -> tuple[Rows, Rows]:
    """Which pairs have their own document in a part of the moved ones, and where there."""
    at = np.flatnonzero((column >= part.start) & (column < part.stop))
    return at, column[at] - part.start


# --- NUDGE-M -------------------------------------------------------------------------------------


def _winning_intervals(
    documents: Vectors, moved: Rows, target: Vectors, pairs: _Pairs
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the ends of the gammas at which a pair's document is first, for the pairs that have any."""
    own_old, own_new = _own_products(documents, moved, target, pairs)
    best = np.full(len(pairs.queries), -np.inf, np.float32)
    worst = np.full(len(pairs.queries), np.inf, np.float32)
    for some, rows, scores in _unmoved_scores(documents, moved, pairs.queries):
        best[some], worst[some] = np.fmax(best[some], scores.max(1)), np.fmin(worst[some], scores.min(1))
        first, last = np.searchsorted(pairs.query, [some.start, some.stop])
        place = np.searchsorted(rows, pairs.document[first:last]).clip(max=len(rows) - 1)
        at = np.flatnonzero(rows[place] == pairs.document[first:last])
        own_old[first + at] = scores[pairs.query[first + at] - some.start, place[at]]

    low = np.zeros(len(pairs.query), np.float32)
    high = np.full(len(pairs.query), _NEVER)
    lost = np.zeros(len(pairs.query), np.bool_)
    everyone = slice(0, len(pairs.query))
    if len(moved) < len(documents):  # of those that stay, the extremes bound all others
        lead = np.stack([best, worst], axis=1)[pairs.query] - own_old[:, None]
        _narrow(low, high, lost, everyone, lead, np.repeat(own_new[:, None], 2, axis=1))
    for part, these, old, new in _moved_scores(documents, moved, target, pairs):
        at, place = _own_places(pairs.column[these], part)
        lead, loss = old - own_old[these, None], own_new[these, None] - new
        lead[at, place] = loss[at, place] = 0
        _narrow(low, high, lost, these, lead, loss)
    wins = ~lost & (high >= low)
    return low[wins], high[wins]


def _narrow(
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    lost: NDArray[np.bool_],
    these: slice,
    lead: Vectors,
    loss: Vectors,
) -> None:
    """Take in competitors (pairs, c) that lead at gamma 0 and lose ``loss`` of it as gamma grows by 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        even = lead / (loss + _EPS)
    low[these] = np.maximum(low[these], np.where(loss > 0, even, 0).max(axis=1))
    high[these] = np.minimum(high[these], np.where(loss < 0, even, _NEVER).min(axis=1))
    lost[these] |= ((loss == 0) & (lead > 0)).any(axis=1)


def _most_covered(low: NDArray[np.float32], high: NDArray[np.float32]) -> np.float32:
    """First end at which the intervals begun exceed those ended by the most; 0 without any."""
    values, place = np.unique(np.concatenate([low, high]), return_inverse=True)
    if not len(values):
        return np.float32(0)
    steps = np.repeat([1, -1], [len(low), len(high)])
    inside = np.cumsum(np.bincount(place, weights=steps))
    return np.float32(values[inside.argmax()]) if inside.max() > 0 else np.float32(0)


# --- NUDGE-N -------------------------------------------------------------------------------------


def _products(
    documents: Vectors, moved: Rows, target: Vectors
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Products of the targets with their documents and with themselves, (m,) each."""
    along = np.empty(len(moved), np.float32)
    for part in _parts(len(moved), _DOCUMENTS):
        along[part] = np.einsum("ij,ij->i", target[part], _unit_rows(documents, moved[part]))
    return along, np.einsum("ij,ij->i", target, target)


def _weights(
    gamma: float, along: NDArray[np.float32], square: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of old vector and target in the new vector, (m,) each."""
    if gamma == 0:
        return np.ones_like(along), np.zeros_like(along)
    length = np.maximum(np.sqrt(square), np.float32(1e-12))
    apart = np.maximum(square - along**2, 0)
    stays = (apart == 0) | (along < 0)
    arrives = along / length >= 1 - gamma / 2
    mu = along + np.sqrt(gamma / (4 - gamma) * apart)
    step = np.where(stays, 0, gamma / (2 * np.where(stays, 1, mu - along)))
    of_document = np.where(arrives, 0, 1 - step * mu)
    return of_document.astype(np.float32), np.where(arrives, 1 / length, step).astype(np.float32)


def _hits(
    documents: Vectors,
    moved: Rows,
    target: Vectors,
    pairs: _Pairs,
    weights: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    k: int,
) -> NDArray[np.bool_]:
    """Whether each pair's document is among the best ``k`` under each of the weights, (weights, p)."""
    own_old, own_new = _own_products(documents, moved, target, pairs)
    best, rows = _best_unmoved(documents, moved, pairs.queries, k)
    best, rows = best[pairs.query], rows[pairs.query]  # (p, k)
    moves, own_row = pairs.column >= 0, rows == pairs.document[:, None]
    listed = own_row.any(axis=1)
    own = np.where(listed, np.where(own_row, best, 0).sum(axis=1), -np.inf)
    owns = np.stack(
        [np.where(moves, a[pairs.column] * own_old + b[pairs.column] * own_new, own) for a, b in weights]
    ).astype(np.float32)

    def before(scores: Vectors, score: NDArray[np.float32], earlier: NDArray[np.bool_]) -> Rows:
        ahead = (scores > score[:, None]) | ((scores == score[:, None]) & earlier)
        return np.asarray(np.count_nonzero(ahead, axis=1), np.int64)

    ahead = np.stack([before(best, score, rows < pairs.document[:, None]) for score in owns])
    for part, these, old, new in _moved_scores(documents, moved, target, pairs):
        at, place = _own_places(pairs.column[these], part)
        earlier = moved[part] < pairs.document[these, None]
        for count, score, (a, b) in zip(ahead, owns, weights, strict=True):
            scores = a[part] * old + b[part] * new
            scores[at, place] = -np.inf
            count[these] += before(scores, score[these], earlier)
    return np.asarray((ahead < k) & (moves | listed), np.bool_)


def _best_unmoved(documents: Vectors, moved: Rows, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
    """Scores and rows of the ``k`` best documents that stay, (n, k), in no order; -inf and -1 for none."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    for some, those, scores in _unmoved_scores(documents, moved, queries):
        better = np.flatnonzero(scores.max(axis=1) > best[some].min(axis=1))
        changed = some.start + better
        pool = np.concatenate([best[changed], scores[better]], axis=1)
        kept = np.argpartition(pool, pool.shape[1] - k, axis=1)[:, -k:]
        best[changed] = np.take_along_axis(pool, kept, axis=1)
        old = np.take_along_axis(rows[changed], kept.clip(max=k - 1), axis=1)
        rows[changed] = np.where(kept < k, old, those[(kept - k).clip(min=0)])
    return best, rows
