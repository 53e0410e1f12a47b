"""Negatives from vectors: the hardest documents for each query that are not known to be relevant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.search import top_k
from embedtune.types import Vectors


def hard_negatives(queries: Vectors, documents: Vectors, known: csr_matrix, k: int) -> NDArray[np.int64]:
    """Find the ``k`` documents nearest to each query among those not known to be relevant.

    Parameters
    ----------
    queries, documents : float32 arrays of shape (n, d) and (N, d)
        Compared by inner product; unit length where the similarity is cosine.
    known : csr_matrix of shape (n, N)
        Pairs that are left out.
    k : int
        How many; at most N.

    Returns
    -------
    int64 array of shape (n, min(k, N))
        Rows of documents, hardest first; -1 where a query has fewer.
    """
    return top_k(queries, documents, min(k, len(documents)), exclude=known)[0]
