"""Without learning: what most chose, and what is nearest to the mean of a history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


def popularity(train: csr_matrix, items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Score an item by how many chose it."""
    return np.tile(np.asarray(train.sum(axis=0), np.float32).ravel(), (train.shape[0], 1))


def centroid(train: csr_matrix, items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Score an item by its inner product with the sum of the history's vectors, all of unit length."""
    return np.asarray(train @ items, np.float32) @ items.T
