"""The documents' side of a map, row by row: the same row gives the same bytes in whatever batch it comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from embedtune.stores.base import Id
from embedtune.transforms import Chain, Identity, Linear, Pooled
from embedtune.transforms.blocks import unit_length
from embedtune.types import Similarity, Transform, Vectors

TILE = 512
"""Rows mapped at a time: as every product has this shape, a row always takes the same path through BLAS."""

UNIT = 1e-3
"""How far from 1 a length may be and still count as unit length."""


class DocumentMap:
    """Apply a transform to stored vectors.

    Parameters
    ----------
    transform : Transform
        Its ``documents`` is applied.
    similarity : {"cosine", "dot"}
        With cosine, rows that do not have unit length are normalised first: maps are fitted on such.
    """

    def __init__(self, transform: Transform, similarity: Similarity) -> None:
        self.transform, self.similarity = transform, similarity

    def __call__(self, ids: Sequence[Id], vectors: Vectors) -> Vectors:
        """Map rows.

        Parameters
        ----------
        ids : sequence of int or str
            Of the rows, for maps that know items.
        vectors : float32 array of shape (n, d)
            As stored.

        Returns
        -------
        float32 array of shape (n, d')
            Unit length where the similarity is cosine.
        """
        parts = [
            self._tile(ids[start : start + TILE], vectors[start : start + TILE])
            for start in range(0, len(vectors), TILE)
        ]
        return np.concatenate(parts) if parts else self._tile([], vectors)[:0]

    def _tile(self, ids: Sequence[Id], vectors: Vectors) -> Vectors:
        tile = np.zeros((TILE, vectors.shape[1]), np.float32)
        tile[: len(vectors)] = vectors
        if self.similarity == "cosine":
            length = np.sqrt(np.einsum("ij,ij->i", tile, tile))
            off = np.flatnonzero(np.abs(length - 1) > UNIT)
            tile[off] = unit_length(tile[off])
        names = [*map(str, ids), *[""] * (TILE - len(ids))]
        return np.ascontiguousarray(self.transform.documents(tile, names)[: len(vectors)], np.float32)


def moves_documents(transform: Transform) -> bool:
    """Say whether a map does anything to documents; one for queries alone needs no writes.

    >>> moves_documents(Linear(query=np.eye(2, dtype=np.float32)))
    False
    """
    if isinstance(transform, Identity | Pooled):
        return False
    if isinstance(transform, Linear):
        return transform.document is not None
    return any(map(moves_documents, transform.parts)) if isinstance(transform, Chain) else True


def version_of(transform: Transform, similarity: Similarity) -> str:
    """Name the version that a map makes: eight hexadecimal digits of what it is made of."""
    tensors, settings = transform.state()
    digest = hashlib.sha256(json.dumps([transform.kind, settings, similarity], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()[:8]
