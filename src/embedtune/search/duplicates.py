"""Duplicates in a collection: all pairs above a similarity, exactly and block by block, and their groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from embedtune.errors import UserError
from embedtune.types import Vectors

BLOCK = 1024
"""Rows compared with all others at a time; bounds the memory."""

MOST = 5_000_000
"""Pairs that are found at most: a threshold that gives more tells nothing apart."""


@dataclass(frozen=True)
class Duplicates:
    """Pairs of a collection that are the same, and the groups that they form."""

    pairs: NDArray[np.int64]
    """Rows of each pair, the lower first, most similar pairs first, (p, 2)."""
    similarity: NDArray[np.float32]
    """Of each pair, (p,)."""
    group: NDArray[np.int64]
    """Group of each row of the collection, (n,), numbered by first members; alone in it where it has no
    duplicate. Duplicates of duplicates are in one group."""

    def groups(self) -> list[list[int]]:
        """Give the rows of each group of two or more, by first members."""
        order = np.argsort(self.group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.group[order])) + 1)
        return [part.tolist() for part in parts if len(part) > 1]


def find_duplicates(vectors: Vectors, threshold: float, *, block: int = BLOCK) -> Duplicates:
    """Find all pairs at least ``threshold`` similar.

    Parameters
    ----------
    vectors : float32 array of shape (n, d)
        Of unit length where the similarity is cosine; mapped, where there is a map. May be
        memory-mapped.
    threshold : float
        As calibrated: see :func:`embedtune.judging.threshold.calibrate`.
    block : int
        Rows compared at a time.

    Raises
    ------
    UserError
        When there are more than five million such pairs.

    Examples
    --------
    >>> x = np.array([[1, 0], [0, 1], [0.8, 0.6], [1, 0]], np.float32)
    >>> find_duplicates(x, 0.9).groups()
    [[0, 3]]
    """
    n = len(vectors)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    count = 0
    for i in range(0, n, block):
        rows = np.asarray(vectors[i : i + block], np.float32)
        for j in range(i, n, block):
            scores = rows @ np.asarray(vectors[j : j + block], np.float32).T
            a, b = np.nonzero(scores >= threshold)
            keep = a + i < b + j
            a, b = a[keep], b[keep]
            found.append((a + i, b + j, scores[a, b]))
            count += len(a)
            if count > MOST:
                raise UserError(
                    f"more than {MOST:,} pairs are at least {threshold:g} similar",
                    fix="choose a higher threshold",
                )
    left, right = (np.concatenate([part[k] for part in found] or [np.empty(0, np.int64)]) for k in (0, 1))
    similarity = np.concatenate([part[2] for part in found] or [np.empty(0, np.float32)])
    order = np.lexsort((right, left, -similarity))
    pairs = np.stack([left, right], axis=1)[order].astype(np.int64)
    links = csr_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    group = connected_components(links, directed=False)[1] if n else np.empty(0, np.int64)
    return Duplicates(pairs, similarity[order].astype(np.float32), np.asarray(group, np.int64))
