"""What tuners of similarity get: the vectors of both sentences of every pair, and the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Similarity, Vectors


@dataclass(frozen=True)
class ScoredPairs:
    """Training pairs. Held-out pairs are not in here; test data never is.

    Parameters
    ----------
    left, right : float32 array of shape (n, d)
        Unit length where the similarity is cosine. Which side is which has no meaning.
    score : float64 array of shape (n,)
        The higher, the more alike; any scale.
    similarity : str
        ``"cosine"`` or ``"dot"``.
    """

    left: Vectors
    right: Vectors
    score: NDArray[np.float64]
    similarity: Similarity = "cosine"

    def __len__(self) -> int:
        return len(self.score)

    @property
    def cosine(self) -> bool:
        """Whether mapped vectors are brought to unit length."""
        return self.similarity == "cosine"
