"""Folds without leaks: held out by query, and by document, near-duplicates together."""

from __future__ import annotations

import functools
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
Mask = NDArray[np.bool_]


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
    made: Mask | None = None,
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
    made : bool array of shape (n,), optional
        Queries that nobody labelled: the others alone are held out. A made one trains, unless it is a
        near-duplicate of one that is held out, or all its documents are.
    seed : int
        Which queries go where.

    Returns
    -------
    list of Fold
    """
    own = np.arange(relevance.shape[0]) if made is None else np.flatnonzero(~made)
    n, groups_of_own = len(own), groups[own]
    rng = np.random.default_rng(seed)
    nothing = np.empty(0, np.int64)
    fold = functools.partial(_fold_of, relevance, groups, made)
    if n >= MANY:
        part, half = _assign(groups_of_own, 10, rng), _assign(groups_of_own, 2, rng)
        rounds = int(np.clip(-(-10 * (ENOUGH - judged) // n), 1 if judged else 2, 6))
        halves = [[own[(part == i) & (half == j)] for j in (0, 1)] for i in range(rounds)]
        return [fold(by_query, by_document) for by_query, by_document in halves]
    part = _assign(groups_of_own, 5, rng)
    held = [rows for rows in (own[part == i] for i in range(5)) if len(rows)]
    by_query = [fold(rows, nothing) for rows in held]
    if seen_share(relevance, made) < REPEATED:
        return by_query  # hardly any document has two queries: they are unseen as it is
    return by_query + [fold(nothing, rows) for rows in held]


def hold_out(
    relevance: csr_matrix,
    groups: NDArray[np.int64],
    *,
    share: float,
    most: int,
    made: Mask | None = None,
    seed: int = 0,
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
    made : bool array of shape (n,), optional
        As for :func:`folds`.
    seed : int
        Which.

    Returns
    -------
    Fold
        Half of the queries are held out by query and half by document; all by query where hardly any
        document has two queries.
    """
    rng = np.random.default_rng(seed)
    own = np.arange(relevance.shape[0]) if made is None else np.flatnonzero(~made)
    parts = max(2, round(1 / share), -(-len(own) // max(most, 1)))
    held = _assign(groups[own], parts, rng) == 0
    fold = functools.partial(_fold_of, relevance, groups, made)
    if seen_share(relevance, made) < REPEATED:
        return fold(own[held], np.empty(0, np.int64))
    half = _assign(groups[own], 2, rng)
    return fold(*(own[held & (half == j)] for j in (0, 1)))


def seen(rows: csr_matrix, train: csr_matrix) -> NDArray[np.bool_]:
    """Say for each query of ``rows`` whether one of its documents has a training query in ``train``."""
    known = np.zeros(train.shape[1], np.float32)
    known[train.indices] = 1
    return np.asarray((rows != 0) @ known) > 0


def seen_share(relevance: csr_matrix, made: Mask | None = None) -> float:
    """Share of (not made) queries that have a document in common with another query: traffic on seen ones."""
    counts = np.bincount(relevance.indices, minlength=relevance.shape[1])
    shared = np.asarray((relevance != 0) @ (counts > 1).astype(np.float32)) > 0
    return float(np.mean(shared if made is None else shared[~made]))


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


def _fold_of(
    relevance: csr_matrix, groups: NDArray[np.int64], made: Mask | None, by_query: Rows, by_document: Rows
) -> Fold:
    """Make a fold from the rows of real queries; made near-duplicates of those go out with them."""
    if made is not None:
        held = np.r_[by_query, by_document]
        by_query = np.r_[by_query, np.flatnonzero(made & np.isin(groups, groups[held]))]
    return _fold(relevance, by_query, by_document)


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
