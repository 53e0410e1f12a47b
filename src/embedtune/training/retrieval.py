"""Queries, documents and judgements with their vectors: what tuners of retrieval are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.training.of_documents import PseudoQueries, Unread
from embedtune.types import Similarity, Transform, Vectors


@dataclass(frozen=True)
class TuningData:
    """Vectors and training judgements. Held-out queries are not in here; test data never is.

    Parameters
    ----------
    queries : float32 array of shape (n, d)
        Unit length where the similarity is cosine. Every row has a positive.
    documents : float32 array of shape (N, d)
        May be memory-mapped.
    positives : csr_matrix of shape (n, N)
        Grades above 0 of the training judgements.
    known : csr_matrix of shape (n, N)
        Pairs that must not serve as negatives: all that is known to be relevant, held out or not.
    document_ids : sequence of str
        Names of the documents' rows.
    similarity : str
        ``"cosine"`` or ``"dot"``.
    negatives : csr_matrix of shape (n, N), optional
        Pairs judged not relevant.
    weight : float32 array of shape (n,), optional
        How much each query counts in the loss; ones where not given.
    made : bool array of shape (n,), optional
        Queries whose labels nobody gave; none where not given.
    pseudo : PseudoQueries, optional
        What documents say of themselves; for tuners that ask for it, see
        :class:`~embedtune.tuners.with_pseudo.WithPseudoQueries`.
    unread : Unread, optional
        What the base does not read of long documents, for tuners that ask for it, see
        :class:`~embedtune.tuners.read_on.ReadOn`.
    """

    queries: Vectors
    documents: Vectors
    positives: csr_matrix
    known: csr_matrix
    document_ids: Sequence[str]
    similarity: Similarity = "cosine"
    negatives: csr_matrix | None = None
    weight: NDArray[np.float32] | None = None
    made: NDArray[np.bool_] | None = None
    pseudo: PseudoQueries | None = None
    unread: Unread | None = None

    def __len__(self) -> int:
        """Training queries."""
        return len(self.queries)

    @property
    def cosine(self) -> bool:
        """Whether mapped vectors are brought to unit length."""
        return self.similarity == "cosine"

    @cached_property
    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """(query row, document row, weight) of every positive; a query's weights add up to 1."""
        rows = np.repeat(np.arange(self.positives.shape[0]), np.diff(self.positives.indptr))
        total = np.asarray(self.positives.sum(axis=1)).ravel()[rows]
        weight = (self.positives.data / total).astype(np.float32)
        return rows, self.positives.indices.astype(np.int64), weight

    def mapped(self, below: Transform) -> TuningData:
        """Give the same labels with both sides' vectors mapped by ``below``; without what is unread."""
        documents = below.documents(np.asarray(self.documents, np.float32), self.document_ids)
        pseudo = self.pseudo and replace(self.pseudo, vectors=below.queries(self.pseudo.vectors))
        queries = below.queries(self.queries)
        return replace(self, queries=queries, documents=documents, pseudo=pseudo, unread=None)

    def own(self) -> TuningData:
        """Give the queries whose labels people gave."""
        if self.made is None:
            return self
        rows = np.flatnonzero(~self.made)
        return replace(
            self,
            queries=self.queries[rows],
            positives=self.positives[rows],
            known=self.known[rows],
            negatives=None if self.negatives is None else self.negatives[rows],
            weight=None if self.weight is None else self.weight[rows],
            made=None,
        )

    def among_labelled(self) -> TuningData:
        """Give the same labels over the documents that have any, so that no other serves as a negative."""
        judged = [self.positives.indices] + ([] if self.negatives is None else [self.negatives.indices])
        columns = np.unique(np.concatenate(judged))

        def part(pairs: csr_matrix) -> csr_matrix:
            return csr_matrix(pairs.tocsc()[:, columns])

        return replace(
            self,
            documents=np.ascontiguousarray(self.documents[columns], np.float32),
            positives=part(self.positives),
            known=part(self.known),
            document_ids=[self.document_ids[column] for column in columns],
            negatives=None if self.negatives is None else part(self.negatives),
            pseudo=self.pseudo and self.pseudo.among(columns, len(self.documents)),
            unread=self.unread and self.unread.among(columns, len(self.documents)),
        )

    def targets(self) -> Vectors:
        """Mean of each query's positive documents, (n, d): weighted by grade, not normalised."""
        rows, columns, weight = self.pairs
        judged, slot = np.unique(columns, return_inverse=True)
        mix = csr_matrix((weight, (rows, slot)), shape=(len(self.queries), len(judged)))
        return np.asarray(mix @ self.documents[judged], np.float32)
