"""Histories pooled, and items mapped, in blocks: the mapped items are never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.mapped import release
from embedtune.transforms.pooling import history_vectors
from embedtune.types import Transform, Vectors

BLOCK = 2048
"""Items mapped at a time."""


def pooled_histories(transform: Transform, x: Vectors, ids: Sequence[str], weights: csr_matrix) -> Vectors:
    """Give the weighted sums of what items add to a history, float32 (n, d').

    Parameters
    ----------
    transform : Transform
    x : float32 array of shape (N, d)
        The base's vectors of all items; may be memory-mapped.
    ids : sequence of str
        Their ids.
    weights : sparse matrix of shape (n, N)
        What each item of each history weighs.
    """
    by_item = weights.tocsc()
    total: Vectors | None = None
    for start in range(0, len(x), BLOCK):
        block = slice(start, start + BLOCK)
        part = by_item[:, block]
        if total is not None and not part.nnz:
            continue
        vectors = history_vectors(transform, np.asarray(x[block], np.float32), ids[block])
        release(x)
        if total is None:
            total = np.zeros((weights.shape[0], vectors.shape[1]), np.float32)
        total += part @ vectors
    return np.zeros((weights.shape[0], 0), np.float32) if total is None else total


def mapped_documents(transform: Transform, x: Vectors, ids: Sequence[str]) -> Callable[[slice], Vectors]:
    """Give what maps a slice of the items (N, d), for :func:`embedtune.search.positive_ranks`."""

    def mapped(rows: slice) -> Vectors:
        vectors = transform.documents(np.asarray(x[rows], np.float32), ids[rows])
        release(x)
        return vectors

    return mapped
