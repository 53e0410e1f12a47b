"""Exact search by inner product: the best k documents, and the rank of every known positive.

Both walk the documents in blocks, multiply each block with the queries into one buffer that is
used again and again, and keep only what can still matter. Memory is bounded by the block, never by
queries times documents, so documents may be a memory-mapped file. Higher scores come first; of
equal scores the lower document row comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.errors import UserError, VectorError
from embedtune.types import Vectors

BLOCK = 8192
"""Documents scored at a time."""

_BUFFER = 8 * 1024 * 1024
"""Scores held at a time (32 MiB of float32): with fewer, the matrix products become too flat to be fast."""

_GROUP = 16
"""Columns that share one maximum when the first bar is set."""

_FEW = 16
"""Positives of one query that are counted one by one; for more, the scores are sorted first."""


def top_k(
    queries: Vectors,
    documents: Vectors,
    k: int,
    *,
    block: int = BLOCK,
    exclude: csr_matrix | None = None,
    document_map: Callable[[slice], Vectors] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the ``k`` documents with the highest inner product for each query, exactly.

    Parameters
    ----------
    queries : float32 array of shape (n, d)
        Unit length where the similarity is cosine, as the documents must be; nothing is normalised here.
    documents : array of shape (N, d)
        May be memory-mapped, and of another float type: it is read block by block, never copied whole.
    k : int
        At least 1. More than N gives N columns.
    block : int
        Documents scored at a time.
    exclude : sparse matrix of shape (n, N), optional
        Pairs that must not be found, such as a query that is itself a document.
    document_map : callable, optional
        Gives the vectors of a slice of rows instead of ``documents[slice]``, once for each slice.

    Returns
    -------
    indices : int64 array of shape (n, min(k, N))
        Best first; ties by the lower row. -1 where exclusion left fewer than k documents.
    scores : float32 array of shape (n, min(k, N))
        Inner products; ``-inf`` where ``indices`` is -1.

    Raises
    ------
    VectorError
        When the shapes do not fit.
    UserError
        When ``k`` is below 1.
    """
    queries, shape = _checked(queries, documents, exclude, mapped=document_map is not None)
    if k < 1:
        raise UserError(f"k is {k}", fix="ask for at least one document")
    k = min(k, shape[1])
    best = np.zeros((shape[0], k), np.uint64)  # keys of _pack; 0 sorts below every real score
    if k:
        for rows, start, scores in _blocks(queries, documents, block, exclude, document_map):
            _merge(best[rows], scores, start)
    return _unpack(np.sort(best, axis=1)[:, ::-1])


def positive_ranks(
    queries: Vectors,
    documents: Vectors,
    relevance: csr_matrix,
    *,
    block: int = BLOCK,
    exclude: csr_matrix | None = None,
    document_map: Callable[[slice], Vectors] | None = None,
) -> NDArray[np.int32]:
    """Rank every positive among all documents, without sorting them: the cost is about one matrix product.

    A positive's rank is 1 plus the documents that score higher, plus those of lower row that score
    the same. Its own column is never compared with it, so rounding cannot make it outrank itself.

    Parameters
    ----------
    queries : float32 array of shape (n, d)
        Unit length where the similarity is cosine.
    documents : array of shape (N, d)
        May be memory-mapped.
    relevance : sparse matrix of shape (n, N)
        Its stored entries are the positives, whatever their value.
    block : int
        Documents scored at a time.
    exclude : sparse matrix of shape (n, N), optional
        Pairs that are taken out of the ranking; none of them may be a positive.
    document_map : callable, optional
        Gives the vectors of a slice of rows instead of ``documents[slice]``, for a transform that is
        applied on the way. It is called up to twice for each slice: where the mapped documents fit
        in memory, pass those as ``documents``.

    Returns
    -------
    int32 array of shape (relevance.nnz,)
        Ranks from 1, in the order of ``relevance.indices``.

    Raises
    ------
    VectorError
        When the shapes do not fit.
    UserError
        When a pair is both relevant and excluded.
    """
    queries, shape = _checked(queries, documents, exclude, mapped=document_map is not None)
    relevance = csr_matrix(relevance)
    if relevance.shape != shape:
        raise VectorError(f"relevance has shape {relevance.shape}, but queries and documents make {shape}")
    pair_query = np.repeat(np.arange(shape[0]), np.diff(relevance.indptr))
    pair_document = relevance.indices.astype(np.int64)
    _refuse_excluded_positives(pair_query, pair_document, exclude)
    asked = np.flatnonzero(np.diff(relevance.indptr))
    ranks = np.ones(relevance.nnz, np.int64)
    if not len(asked):
        return ranks.astype(np.int32)

    read = document_map or (lambda rows: documents[rows])
    own = _pair_scores(queries, read, pair_query, pair_document, block)
    hidden = csr_matrix((np.ones(relevance.nnz, np.int8), relevance.indices, relevance.indptr), shape=shape)
    if exclude is not None:
        hidden = csr_matrix(hidden + csr_matrix((exclude != 0).astype(np.int8)))
    for rows, start, scores in _blocks(queries[asked], documents, block, hidden[asked], read):
        for row, query in zip(scores, asked[rows], strict=True):
            pairs = slice(relevance.indptr[query], relevance.indptr[query + 1])
            count = _count_above_one_by_one if pairs.stop - pairs.start <= _FEW else _count_above_sorted
            ranks[pairs] += count(row, own[pairs], pair_document[pairs] - start)
    _add_ranks_among_positives(ranks, own, pair_query, pair_document)
    return ranks.astype(np.int32)


def _checked(
    queries: Vectors, documents: Vectors, exclude: csr_matrix | None, *, mapped: bool = False
) -> tuple[Vectors, tuple[int, int]]:
    """Give queries as contiguous float32, and (n, N)."""
    if queries.ndim != 2 or documents.ndim != 2:
        raise VectorError(f"vectors must have two axes, not {queries.ndim} and {documents.ndim}")
    if not mapped and queries.shape[1] != documents.shape[1]:
        raise VectorError(
            f"queries have {queries.shape[1]} dimensions and documents {documents.shape[1]}",
            fix="encode both with the same model",
        )
    shape = (len(queries), len(documents))
    if exclude is not None and exclude.shape != shape:
        raise VectorError(f"exclude has shape {exclude.shape}, but queries and documents make {shape}")
    return np.ascontiguousarray(queries, np.float32), shape


def _blocks(
    queries: Vectors,
    documents: Vectors,
    block: int,
    hidden: csr_matrix | None,
    read: Callable[[slice], Vectors] | None = None,
) -> Iterator[tuple[slice, int, Vectors]]:
    """Yield (rows of queries, first document, their scores), hidden pairs at -inf; the memory is reused."""
    block = min(block, max(len(documents), 1))
    height = max(1, min(len(queries), _BUFFER // block))
    buffer = np.empty(height * block, np.float32)
    by_document = None if hidden is None else hidden.tocsc()
    for start in range(0, len(documents), block):
        stop = min(start + block, len(documents))
        part = read(slice(start, stop)) if read else documents[start:stop]
        part = np.ascontiguousarray(part, np.float32)
        pairs = None if by_document is None else by_document[:, start:stop].tocsr()
        for first in range(0, len(queries), height):
            rows = slice(first, min(first + height, len(queries)))
            n = rows.stop - first
            scores = buffer[: n * (stop - start)].reshape(n, stop - start)
            np.matmul(queries[rows], part.T, out=scores)
            if pairs is not None:
                found = pairs[rows].tocoo()
                scores[found.row, found.col] = -np.inf
            yield rows, start, scores


# --- top k ---------------------------------------------------------------------------


def _pack(scores: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One sortable integer for (score, row): higher is better, and of equal scores the lower row is higher.

    The bits of a float32 sort like the number once negative ones are inverted; adding 0 turns -0 into 0.
    """
    bits = (scores + np.float32(0)).view(np.uint32)
    bits = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
    return (bits.astype(np.uint64) << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - indices.astype(np.uint64))


def _unpack(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    bits = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(bits >> np.uint32(31), bits & np.uint32(0x7FFFFFFF), ~bits)
    scores = bits.view(np.float32)
    indices = (np.uint64(0xFFFFFFFF) - (keys & np.uint64(0xFFFFFFFF))).astype(np.int64)
    absent = keys == 0
    return np.where(absent, -1, indices), np.where(absent, np.float32(-np.inf), scores)


def _merge(best: NDArray[np.uint64], scores: Vectors, start: int) -> None:
    """Put a block of scores (n, width) into the running best (n, k), in place."""
    k = best.shape[1]
    worst = best.min(axis=1)
    bar = np.where(worst == 0, np.float32(-np.inf), _unpack(worst)[1])
    rows, columns = _above(scores, bar, k)
    if not len(rows):
        return
    changed, counts = np.unique(rows, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    pool = np.zeros((len(changed), k + counts.max()), np.uint64)
    pool[:, :k] = best[changed]
    pool[np.repeat(np.arange(len(changed)), counts), k + place] = _pack(
        scores[rows, columns], columns + start
    )
    best[changed] = np.partition(pool, pool.shape[1] - k, axis=1)[:, -k:]


def _above(scores: Vectors, bar: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the scores that can enter the best k, by row.

    Later documents lose ties, so only scores strictly above the bar count. Nearly all are under it:
    the comparison's bytes are looked through eight at a time.
    """
    width = scores.shape[1]
    fresh = np.isneginf(bar)
    if fresh.any():
        bar = np.where(fresh, _first_bar(scores, k), bar)
    above = (scores > bar[:, None]).reshape(-1)
    eights = np.flatnonzero(above[: above.size // 8 * 8].view(np.uint64))
    found = (eights[:, None] * 8 + np.arange(8)).reshape(-1)
    found = np.r_[found[above[found]], np.flatnonzero(above[above.size // 8 * 8 :]) + above.size // 8 * 8]
    return np.divmod(found, width)


def _first_bar(scores: Vectors, k: int) -> NDArray[np.float32]:
    """Just below the k-th highest maximum over groups of columns: k scores are certainly above it."""
    n, width = scores.shape
    groups = width // _GROUP
    if groups < k:
        return np.full(n, -np.inf, np.float32)
    peaks = scores[:, : groups * _GROUP].reshape(n, _GROUP, groups).max(axis=1)
    return np.nextafter(np.partition(peaks, groups - k, axis=1)[:, groups - k], np.float32(-np.inf))


# --- ranks of positives --------------------------------------------------------------


def _pair_scores(
    queries: Vectors,
    read: Callable[[slice], Vectors],
    pair_query: NDArray[np.int64],
    pair_document: NDArray[np.int64],
    block: int,
    size: int = 256,
) -> NDArray[np.float32]:
    """Score the positives by matrix products, as all else is scored, in tiles whose diagonals are kept."""
    own = np.empty(len(pair_query), np.float32)
    order = np.argsort(pair_document, kind="stable")
    cuts = np.flatnonzero(np.diff(pair_document[order] // block)) + 1
    for members in np.split(order, cuts):
        start = int(pair_document[members[0]]) // block * block
        part = np.asarray(read(slice(start, start + block)))
        for first in range(0, len(members), size):
            pairs = members[first : first + size]
            full = np.resize(pairs, size)  # a tile of full size takes the same path through BLAS
            vectors = np.ascontiguousarray(part[pair_document[full] - start], np.float32)
            own[pairs] = (queries[pair_query[full]] @ vectors.T).diagonal()[: len(pairs)]
    return own


def _count_above_one_by_one(
    scores: NDArray[np.float32], own: NDArray[np.float32], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each positive, at column ``at`` relative to this block, the scores that come before it."""
    counts = np.empty(len(own), np.int64)
    for i, (score, column) in enumerate(zip(own, at.clip(0, len(scores)), strict=True)):
        counts[i] = np.count_nonzero(scores[:column] >= score) + np.count_nonzero(scores[column:] > score)
    return counts


def _count_above_sorted(
    scores: NDArray[np.float32], own: NDArray[np.float32], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the same by binary search."""
    ascending = np.sort(scores)
    from_equal = len(scores) - np.searchsorted(ascending, own, "left")
    above = len(scores) - np.searchsorted(ascending, own, "right")
    counts = np.where(at >= len(scores), from_equal, above)
    for i in np.flatnonzero((from_equal > above) & (at > 0) & (at < len(scores))):
        counts[i] += np.count_nonzero(scores[: at[i]] == own[i])
    return counts


def _add_ranks_among_positives(
    ranks: NDArray[np.int64],
    own: NDArray[np.float32],
    pair_query: NDArray[np.int64],
    pair_document: NDArray[np.int64],
) -> None:
    """Add to each rank the query's other positives that come before it."""
    order = np.lexsort((pair_document, -own, pair_query))
    queries = pair_query[order]
    ranks[order] += np.arange(len(order)) - np.searchsorted(queries, queries, "left")


def _refuse_excluded_positives(
    pair_query: NDArray[np.int64], pair_document: NDArray[np.int64], exclude: csr_matrix | None
) -> None:
    if exclude is None or not len(pair_query):
        return
    both = np.flatnonzero(np.asarray(csr_matrix(exclude)[pair_query, pair_document]).ravel())
    if len(both):
        query, document = pair_query[both[0]], pair_document[both[0]]
        raise UserError(
            f"query {query} has document {document} both as a positive and excluded ({len(both)} such pairs)",
            fix="take the excluded pairs out of the positives",
        )
