"""Batches for the softmax loss: queries with their positives, hard negatives and a random sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.data.negatives import hard_negatives
from embedtune.training.retrieval import TuningData
from embedtune.tuners.softmax import Batch
from embedtune.types import Vectors

MINE_AGAINST = 50_000
"""Documents searched for hard negatives at most; beyond that a sample of them, for time and memory."""


class Batches:
    """Shuffled batches over the training queries; hard negatives are found again when asked.

    Parameters
    ----------
    train : TuningData
        Queries, documents and judgements.
    size : int
        Queries a batch.
    hard, sample : int
        Hard negatives a query, and random documents a batch. Where these come near the whole
        collection, every batch competes over all documents and nothing is mined.
    rng : numpy.random.Generator
        Source of the shuffles and samples.
    unlabelled : float
        Weight of documents without labels as negatives, above 0 and up to 1.
    """

    def __init__(
        self,
        train: TuningData,
        *,
        size: int,
        hard: int,
        sample: int,
        rng: np.random.Generator,
        unlabelled: float = 1.0,
    ) -> None:
        self.train, self.size, self.hard, self.sample, self.rng = train, size, hard, sample, rng
        self.documents = len(train.documents)
        self.everything = self.documents <= 1.5 * (min(size, len(train.queries)) * (hard + 1) + sample)
        self.found = np.empty((len(train.queries), 0), np.int64)
        row, _, weight = train.pairs
        self._weight = weight if train.weight is None else weight * train.weight[row]
        self._position = np.full(self.documents, -1, np.int64)
        self._shift: NDArray[np.float32] | None = None
        if unlabelled < 1:
            self._shift = np.full(self.documents, np.log(unlabelled), np.float32)
            self._shift[np.unique(train.positives.indices)] = 0
            if train.negatives is not None:
                self._shift[np.unique(train.negatives.indices)] = 0

    def __len__(self) -> int:
        return -(-len(self.train.queries) // self.size)

    def mine(self, queries: Vectors, documents: Callable[[NDArray[np.int64] | slice], Vectors]) -> None:
        """Find the hard negatives of the mapped ``queries`` (n, d) among the mapped documents."""
        if self.everything or not self.hard:
            return
        if self.documents <= MINE_AGAINST:
            self.found = hard_negatives(queries, documents(slice(None)), self.train.known, self.hard)
            return
        rows = np.sort(self.rng.choice(self.documents, MINE_AGAINST, replace=False))
        nearest = hard_negatives(queries, documents(rows), self.train.known[:, rows], self.hard)
        self.found = np.where(nearest < 0, -1, rows[nearest])

    def __iter__(self) -> Iterator[Batch]:
        order = self.rng.permutation(len(self.train.queries))
        for queries in np.array_split(order, len(self)):  # even: a last batch of three would be noise
            yield self._batch(np.sort(queries))

    def _batch(self, queries: NDArray[np.int64]) -> Batch:
        train = self.train
        row, column, _ = train.pairs
        where = _entries(train.positives, queries)
        local = np.searchsorted(queries, row[where])
        columns = self._columns(queries, column[where])
        self._position[columns] = np.arange(len(columns))
        known = _entries(train.known, queries)
        masked_query = np.repeat(np.arange(len(queries)), np.diff(train.known.indptr)[queries])
        masked = self._position[train.known.indices[known]]
        batch = Batch(
            queries,
            columns,
            (local, self._position[column[where]]),
            self._weight[where],
            (masked_query[masked >= 0], masked[masked >= 0]),
            None if self._shift is None else self._shift[columns],
        )
        self._position[columns] = -1
        return batch

    def _columns(self, queries: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.everything:
            return np.arange(self.documents)
        parts = [positives, self.found[queries].ravel(), self.rng.integers(0, self.documents, self.sample)]
        if self.train.negatives is not None:
            parts.append(self.train.negatives.indices[_entries(self.train.negatives, queries)])
        columns = np.unique(np.concatenate(parts))
        return columns[columns >= 0]


def _entries(matrix: csr_matrix, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the stored entries of ``rows``, row after row."""
    starts, counts = matrix.indptr[rows].astype(np.int64), np.diff(matrix.indptr)[rows].astype(np.int64)
    shift = np.repeat(starts - np.r_[0, np.cumsum(counts)[:-1]], counts)
    return shift + np.arange(counts.sum())
