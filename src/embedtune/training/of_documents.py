"""Vectors beside those of documents: each belongs to one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Vectors


@dataclass(frozen=True)
class OfDocuments:
    """Vectors, each with the document that it was taken from.

    Parameters
    ----------
    vectors : float32 array of shape (m, d)
        What was encoded.
    documents : int64 array of shape (m,)
        Row of the document that each was taken from.
    """

    vectors: Vectors
    documents: NDArray[np.int64]

    def among(self, rows: NDArray[np.int64], total: int) -> Self:
        """Give those of some documents, ascending ``rows`` of ``total``, by their places among these."""
        place = np.full(total, -1, np.int64)
        place[rows] = np.arange(len(rows))
        kept = place[self.documents] >= 0
        return replace(self, vectors=self.vectors[kept], documents=place[self.documents[kept]])


class PseudoQueries(OfDocuments):
    """Queries that nobody asked: what documents say of themselves.

    Encoded as queries; unit length where the similarity is cosine.
    """


class Unread(OfDocuments):
    """What a model does not read of long documents, at most one a document.

    The mean of the vectors of the windows after the first, not normalised.
    """
