"""An exact search of rows that go by, batch after batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedtune.stores.base import Id
from embedtune.types import Vectors

K = 10
"""Rows that are looked for."""


class Best:
    """The best ``k`` rows of each query by inner product, kept while rows go by."""

    def __init__(self, queries: Vectors, k: int = K) -> None:
        self.queries, self.k = queries, k
        self.scores = np.full((len(queries), k), -np.inf, np.float32)
        self._names = np.full((len(queries), k), None, object)

    def add(self, ids: Sequence[Id], vectors: Vectors) -> None:
        """Let rows go by."""
        k = self.k
        scores = np.concatenate([self.scores, self.queries @ vectors.T], axis=1)
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        known = np.take_along_axis(self._names, np.minimum(best, k - 1), axis=1)
        new = np.array([*ids, None], object)[np.maximum(best - k, -1)]
        self._names = np.where(best < k, known, new)
        self.scores = np.take_along_axis(scores, best, axis=1)

    @property
    def names(self) -> list[list[Id]]:
        """Ids, best first."""
        return [[name for name in row if name is not None] for row in self._names]
