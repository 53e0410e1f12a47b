"""The map that weights are trained under: what an adapter can learn is left to it.

Weights that are tuned by themselves spend their steps on what a linear map of the base's vectors does in
seconds. Here that map is fitted first, to the same training rows, and stands between the model and the loss
while the weights train; the adapters that come after training are fitted anew and take its place.
"""

from __future__ import annotations

import torch

from embedtune.training.retrieval import TuningData
from embedtune.transforms import Linear
from embedtune.tuners.linear import LinearTuner
from embedtune.types import Transform


class Head:
    """A linear map of each side, on torch; it does not change in training.

    Parameters
    ----------
    transform : Linear or Identity
        The map.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        own = transform if isinstance(transform, Linear) else None
        self.query = _matrix(own.query if own else None)
        self.document = _matrix(own.document if own else None)
        self.normalise = own is not None and own.normalise

    @classmethod
    def fitted(cls, train: TuningData, seed: int) -> Head:
        """Fit the map of both sides to the base's vectors of the training rows."""
        return cls(LinearTuner(sides="both").fit(train, seed=seed))

    def queries(self, vectors: torch.Tensor) -> torch.Tensor:
        """Map vectors of queries, (n, d) to (n, d)."""
        return self._map(self.query, vectors)

    def documents(self, vectors: torch.Tensor) -> torch.Tensor:
        """Map vectors of documents, (n, d) to (n, d)."""
        return self._map(self.document, vectors)

    def _map(self, matrix: torch.Tensor | None, vectors: torch.Tensor) -> torch.Tensor:
        if matrix is None:
            return vectors
        mapped = vectors @ matrix.to(vectors.device).T
        return torch.nn.functional.normalize(mapped, dim=1) if self.normalise else mapped


def _matrix(matrix: object) -> torch.Tensor | None:
    return None if matrix is None else torch.tensor(matrix, dtype=torch.float32)
