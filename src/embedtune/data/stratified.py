"""Folds and samples of labelled items: every class dealt out evenly, near-duplicates together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Rows = NDArray[np.int64]


def stratified_parts(labels: csr_matrix, groups: Rows, parts: int, seed: int) -> Rows:
    """Give each item one of ``parts`` parts: groups whole, and every class dealt out evenly.

    Groups are shuffled, sorted by class and dealt like cards. A group counts as the rarest class of its
    first item. One with more than a tenth of all items is split, as it could not be held out otherwise.

    Parameters
    ----------
    labels : csr_matrix of shape (n, C)
    groups : int array of shape (n,)
    parts : int
    seed : int

    Returns
    -------
    int64 array of shape (n,)
        Numbers from 0 to ``parts - 1``.
    """
    n = len(groups)
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    large = size > max(n // 10, 1)
    unit = np.where(large[group], len(size) + np.arange(n), group)
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    count = np.bincount(labels.indices, minlength=labels.shape[1])
    rarest = np.full(n, -1)
    for row in first.tolist():
        own = labels.indices[labels.indptr[row] : labels.indptr[row + 1]]
        rarest[row] = own[count[own].argmin()] if len(own) else -1
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(first))
    dealt = shuffled[np.argsort(rarest[first[shuffled]], kind="stable")]
    part = np.empty(len(first), np.int64)
    part[dealt] = (np.arange(len(dealt)) + rng.integers(parts)) % parts
    return part[unit]


def stratified_sample(labels: csr_matrix, rows: Rows, most: int, seed: int) -> Rows:
    """Give at most ``most`` of some rows, ascending: every class in its share, and none left out.

    Parameters
    ----------
    labels : csr_matrix of shape (n, C)
        A row counts as its first class.
    rows : int array of shape (r,)
        Ascending; all of them where they are not more.
    most : int
        Where classes are more than that, one row of each.
    seed : int
    """
    if len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    starts = labels.indptr[shuffled]
    own = np.where(
        labels.indptr[shuffled + 1] > starts, labels.indices[np.minimum(starts, labels.nnz - 1)], -1
    )
    shuffled, own = shuffled[(order := np.argsort(own, kind="stable"))], own[order]
    first = np.unique(own, return_index=True)[1]
    others = np.setdiff1d(np.arange(len(rows)), first)
    more = max(most - len(first), 0)
    even = others[np.arange(more) * len(others) // max(more, 1)]
    return np.sort(shuffled[np.concatenate([first, even])])
