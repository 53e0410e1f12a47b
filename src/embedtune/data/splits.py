"""Folds without leaks: held out by query, and by document, near-duplicates together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

MANY = 800
"""From so many queries on, a tenth is held out at a time, and not every tenth has its turn."""

ENOUGH = 1000
"""Queries judged out of fold, about, where there are many."""

REPEATED = 0.05
"""Share of queries on documents that others ask for too, below which seen documents play no part."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """What one round trains on and what it is judged on; rows of the labelled queries."""

    train: csr_matrix
    """Positives to train on, (n, N): none of a held-out query, none on a held-out document."""
    by_query: Rows
    """Held-out queries, judged as traffic comes: their documents may have training queries."""
    by_document: Rows
    """Held-out queries all of whose documents were taken out of training: unseen by force."""


def folds(
    relevance: csr_matrix,
    groups: NDArray[np.int64],
    *,
    judged: int = 0,
    seed: int = 0,
) -> list[Fold]:
    """Split labelled queries into folds, by query and by document.

    With fewer than :data:`MANY` queries each is held out twice, once by query and once by document,
    a fifth at a time. With more, tenths are held out in turn until :data:`ENOUGH` queries are
    judged, half of each tenth by query and half by document: every round then trains on nine
    tenths, and what it measures is close to what all labels would give.

    Parameters
    ----------
    relevance : csr_matrix of shape (n, N)
        Positives of the labelled queries.
    groups : int array of shape (n,)
        Queries with the same number stay in one fold (near-duplicates). A group larger than a
        tenth of the queries is split, since it could not be held out otherwise.
    judged : int
        Queries that a split of the user's own judges already; with many queries, so many fewer are held out.
    seed : int
        Which queries go where.

    Returns
    -------
    list of Fold
    """
    n = relevance.shape[0]
    rng = np.random.default_rng(seed)
    nothing = np.empty(0, np.int64)
    if n >= MANY:
        part, half = _assign(groups, 10, rng), _assign(groups, 2, rng)
        rounds = int(np.clip(-(-10 * (ENOUGH - judged) // n), 1 if judged else 2, 6))
        halves = [[np.flatnonzero((part == i) & (half == j)) for j in (0, 1)] for i in range(rounds)]
        return [_fold(relevance, by_query, by_document) for by_query, by_document in halves]
    part = _assign(groups, 5, rng)
    held = [rows for rows in (np.flatnonzero(part == i) for i in range(5)) if len(rows)]
    by_query = [_fold(relevance, rows, nothing) for rows in held]
    if seen_share(relevance) < REPEATED:
        return by_query  # hardly any document has two queries: they are unseen as it is
    return by_query + [_fold(relevance, nothing, rows) for rows in held]


def hold_out(
    relevance: csr_matrix, groups: NDArray[np.int64], *, share: float, most: int, seed: int = 0
) -> Fold:
    """Hold out one part, for training that is too long to be done once a fold.

    Parameters
    ----------
    relevance : csr_matrix of shape (n, N)
        Positives of the labelled queries.
    groups : int array of shape (n,)
        As for :func:`folds`.
    share : float
        Share of the queries that is held out.
    most : int
        Queries that are held out at most, about.
    seed : int
        Which.

    Returns
    -------
    Fold
        Half of the queries are held out by query and half by document; all by query where hardly any
        document has two queries.
    """
    rng = np.random.default_rng(seed)
    n = relevance.shape[0]
    parts = max(2, round(1 / share), -(-n // max(most, 1)))
    held = _assign(groups, parts, rng) == 0
    if seen_share(relevance) < REPEATED:
        return _fold(relevance, np.flatnonzero(held), np.empty(0, np.int64))
    half = _assign(groups, 2, rng)
    by_query, by_document = (np.flatnonzero(held & (half == j)) for j in (0, 1))
    return _fold(relevance, by_query, by_document)


def seen(rows: csr_matrix, train: csr_matrix) -> NDArray[np.bool_]:
    """Say for each query of ``rows`` whether one of its documents has a training query in ``train``."""
    known = np.zeros(train.shape[1], np.float32)
    known[train.indices] = 1
    return np.asarray((rows != 0) @ known) > 0


def seen_share(relevance: csr_matrix) -> float:
    """Share of queries that have a document in common with another query: traffic on seen documents."""
    counts = np.bincount(relevance.indices, minlength=relevance.shape[1])
    return float(np.mean(np.asarray((relevance != 0) @ (counts > 1).astype(np.float32)) > 0))


def _assign(groups: NDArray[np.int64], parts: int, rng: np.random.Generator) -> Rows:
    """Give each query a part; groups whole where they are no larger than a tenth, parts even."""
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    large = size > max(len(groups) // 10, 1)
    unit = np.where(large[group], len(size) + np.arange(len(groups)), group)  # split the large ones
    _, unit, size = np.unique(unit, return_inverse=True, return_counts=True)
    order = rng.permutation(len(size))
    filled = np.cumsum(size[order]) - size[order]
    part = np.empty(len(size), np.int64)
    part[order] = filled * parts // max(len(groups), 1)
    return part[unit]


def _fold(relevance: csr_matrix, by_query: Rows, by_document: Rows) -> Fold:
    n, width = relevance.shape
    held = np.zeros(n, bool)
    held[by_query] = held[by_document] = True
    gone = np.zeros(width, bool)
    gone[relevance[by_document].indices] = True
    rows = np.repeat(np.arange(n), np.diff(relevance.indptr))
    keep = ~held[rows] & ~gone[relevance.indices]
    shape = relevance.shape
    train = csr_matrix((relevance.data[keep], (rows[keep], relevance.indices[keep])), shape=shape)
    train.sort_indices()
    return Fold(train, by_query, by_document)
