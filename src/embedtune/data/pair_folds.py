"""Groups and folds of pairs without leaks: pairs with a sentence in common stay together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee

LARGEST = 0.1
"""Share of the pairs that may be linked to one another; larger webs of pairs are cut."""

SMALL = 5
"""Pairs that may always be linked, however few there are."""

FEW_REPEAT = 0.05
"""Share of pairs with a sentence that another pair has too, below which seen sentences play no part."""

Rows = NDArray[np.int64]


def pair_groups(left: Rows, right: Rows) -> Rows:
    """Give pairs that are linked by sentences in common, directly or by way of others, one number.

    Parameters
    ----------
    left, right : int array of shape (n,)
        Numbers of the sentences of each pair, from 0; near-duplicates may share one.

    Returns
    -------
    int64 array of shape (n,)
        Group of each pair, from 0. A group of more than a tenth of the pairs (and of five), which could
        not be held out, is cut into parts of at most that size along an order in which linked sentences are
        near each other.

    References
    ----------
    Cuthill and McKee 1969 for that order.

    Examples
    --------
    >>> pair_groups(np.array([0, 2, 1]), np.array([1, 3, 4])).tolist()
    [0, 1, 0]
    """
    count = int(max(left.max(initial=-1), right.max(initial=-1))) + 1
    edges = csr_matrix(coo_matrix((np.ones(len(left)), (left, right)), shape=(count, count)))
    component = connected_components(edges, directed=False)[1].astype(np.int64)[left]
    most = max(int(LARGEST * len(left)), SMALL)
    size = np.bincount(component, minlength=1)
    group = component * (len(left) + 1)
    if size.max() > most:
        place = np.empty(count, np.int64)
        place[reverse_cuthill_mckee(csr_matrix(edges + edges.T), symmetric_mode=True)] = np.arange(count)
        for large in np.flatnonzero(size > most):
            rows = np.flatnonzero(component == large)
            order = np.argsort(place[left[rows]] + place[right[rows]], kind="stable")
            parts = -(-len(rows) // most)
            group[rows[order]] += np.arange(len(rows)) * parts // len(rows)
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def pair_folds(left: Rows, right: Rows, groups: Rows, *, parts: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Hold out each pair once; what trains shares no sentence with what is held out.

    Parameters
    ----------
    left, right : int array of shape (n,)
        Numbers of the sentences of each pair.
    groups : int array of shape (n,)
        As :func:`pair_groups` gives them; a group is held out as a whole.
    parts : int
        Folds, about even in pairs.
    seed : int
        Which groups go where.

    Returns
    -------
    list of (int array, int array)
        Training rows and held-out rows; folds in which either is empty are left out.
    """
    _, unit, size = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(size))
    filled = np.cumsum(size[order]) - size[order]
    part = np.empty(len(size), np.int64)
    part[order] = filled * parts // max(len(groups), 1)
    found = []
    for one in range(parts):
        held = part[unit] == one
        sentences = np.union1d(left[held], right[held])
        train = ~held & ~np.isin(left, sentences) & ~np.isin(right, sentences)
        if held.any() and train.any():
            found.append((np.flatnonzero(train), np.flatnonzero(held)))
    return found


def seen_pairs(sentences: tuple[Rows, Rows], held: Rows, train: Rows) -> NDArray[np.bool_]:
    """Say for each pair of ``held``, (h,), whether one of its sentences is in a pair of ``train``."""
    left, right = sentences
    known = np.union1d(left[train], right[train])
    return np.asarray(np.isin(left[held], known) | np.isin(right[held], known))


def repeated_share(left: Rows, right: Rows) -> float:
    """Share of pairs one of whose sentences is in another pair too; 0 without pairs.

    Examples
    --------
    >>> repeated_share(np.array([0, 0, 3, 5]), np.array([1, 2, 4, 5]))
    0.5
    """
    if not len(left):
        return 0.0
    times = np.bincount(np.concatenate([left, right[left != right]]), minlength=int(right.max()) + 1)
    return float(np.mean((times[left] > 1) | (times[right] > 1)))
