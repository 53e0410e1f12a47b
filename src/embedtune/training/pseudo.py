"""What documents say of themselves: queries that nobody asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Vectors


@dataclass(frozen=True)
class PseudoQueries:
    """Queries that nobody asked, each with the document that it was taken from.

    Parameters
    ----------
    vectors : float32 array of shape (m, d)
        Encoded as queries; unit length where the similarity is cosine.
    documents : int64 array of shape (m,)
        Row of the document that each was taken from.
    """

    vectors: Vectors
    documents: NDArray[np.int64]

    def among(self, rows: NDArray[np.int64], total: int) -> PseudoQueries:
        """Give those of some documents, ascending ``rows`` of ``total``, by their places among these."""
        place = np.full(total, -1, np.int64)
        place[rows] = np.arange(len(rows))
        kept = place[self.documents] >= 0
        return PseudoQueries(self.vectors[kept], place[self.documents[kept]])
