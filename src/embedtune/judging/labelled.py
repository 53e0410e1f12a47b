"""Labelled queries with the vectors of both sides: what candidates are fitted to and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.judging.metrics import evaluate_ranks
from embedtune.mapped import gather, release
from embedtune.search import positive_ranks, top_k
from embedtune.tuners.base import TuningData
from embedtune.types import Similarity, Transform, Vectors

MAP_AT_ONCE = 256 * 2**20
"""Bytes of documents mapped in one go; more are mapped block by block while they are searched."""

POOL = 50_000
"""Documents that candidates are chosen on, at most; the shipped map is judged on all."""


@dataclass(frozen=True)
class Labelled:
    """Queries with judgements, and the collection they search.

    Parameters
    ----------
    queries : float32 array of shape (n, d)
        Unit length where the similarity is cosine.
    documents : float32 array of shape (N, d)
        May be memory-mapped.
    relevance : csr_matrix of shape (n, N)
        Grades above 0; every row has one.
    document_ids : sequence of str
        Names of the documents.
    groups : int array of shape (n,)
        Near-duplicate queries share a number.
    similarity : str
        ``"cosine"`` or ``"dot"``.
    negatives : csr_matrix of shape (n, N), optional
        Pairs judged not relevant.
    own : int array of shape (n,), optional
        The row of the document that a query itself is, where queries are documents.
    seen_share : float, optional
        Share of traffic that asks for documents with training queries, where it is known.
    """

    queries: Vectors
    documents: Vectors
    relevance: csr_matrix
    document_ids: Sequence[str]
    groups: NDArray[np.int64]
    similarity: Similarity = "cosine"
    negatives: csr_matrix | None = None
    own: NDArray[np.int64] | None = None
    seen_share: float | None = None

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        """Keep some of the queries."""
        return replace(
            self,
            queries=self.queries[rows],
            relevance=self.relevance[rows],
            groups=self.groups[rows],
            negatives=None if self.negatives is None else self.negatives[rows],
            own=None if self.own is None else self.own[rows],
        )

    @property
    def exclude(self) -> csr_matrix | None:
        """Pairs taken out of the ranking: a query does not search for itself."""
        if self.own is None:
            return None
        ones = np.ones(len(self), np.float32)
        return csr_matrix((ones, (np.arange(len(self)), self.own)), shape=self.relevance.shape)

    def training(self, positives: csr_matrix) -> TuningData:
        """Training data for the given ``positives`` (n, N); queries without one are left out."""
        rows = np.flatnonzero(np.diff(positives.indptr))
        known = self.relevance if self.own is None else csr_matrix(self.relevance + self.exclude)
        return TuningData(
            self.queries[rows],
            self.documents,
            positives[rows],
            known[rows],
            self.document_ids,
            self.similarity,
            None if self.negatives is None else self.negatives[rows],
        )

    def evaluate(self, transform: Transform, metrics: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Give each metric of every query (n,) under ``transform``, searching all documents."""
        if not len(self):
            return {name: np.empty(0) for name in metrics}
        queries = transform.queries(self.queries)
        if self.documents.nbytes <= MAP_AT_ONCE:
            documents = transform.documents(np.asarray(self.documents, np.float32), self.document_ids)
            ranks = positive_ranks(queries, documents, self.relevance, exclude=self.exclude)
        else:
            ranks = positive_ranks(
                queries,
                self.documents,
                self.relevance,
                exclude=self.exclude,
                document_map=lambda rows: self._mapped(transform, rows),
            )
        return evaluate_ranks(ranks, self.relevance, metrics)

    def _mapped(self, transform: Transform, rows: slice) -> Vectors:
        mapped = transform.documents(np.asarray(self.documents[rows], np.float32), self.document_ids[rows])
        release(self.documents)
        return mapped

    def _nearest(self, asked: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """Rows of the ``k`` nearest documents of each part of the collection, for some of the queries."""
        found = []
        for start in range(0, len(self.documents), POOL):
            part = self.documents[start : start + POOL]
            found.append(start + top_k(self.queries[asked], part, k)[0].ravel())
            release(self.documents)
        return np.concatenate(found)

    def pooled(self, seed: int) -> Labelled:
        """Cut a large collection to :data:`POOL` documents: the judged, the nearest, and a random rest.

        Scores on a pool are somewhat higher than on the whole, for base and tuned alike.
        """
        if len(self.documents) <= POOL:
            return self
        rng = np.random.default_rng(seed)
        judged = [self.relevance.indices] + ([] if self.negatives is None else [self.negatives.indices])
        asked = np.sort(rng.choice(len(self), min(len(self), 1000), replace=False))
        near = self._nearest(asked, max(1, 20 * POOL // len(self.documents)))
        core = np.unique(np.concatenate([*judged, near] + ([] if self.own is None else [self.own])))
        extra = rng.choice(len(self.documents), max(POOL - len(core), 0), replace=False)
        rows = np.union1d(core, extra)
        return replace(
            self,
            documents=gather(self.documents, rows),
            relevance=csr_matrix(self.relevance.tocsc()[:, rows]),
            document_ids=[self.document_ids[row] for row in rows],
            negatives=None if self.negatives is None else csr_matrix(self.negatives.tocsc()[:, rows]),
            own=None if self.own is None else np.searchsorted(rows, self.own),
        )
