"""Qdrant's points that lack the named vector: listed, and kept as they are in every version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qdrant_client import QdrantClient, models

from embedtune.stores.base import Nulls

CHUNK = 256
"""Points of one request."""

FIRST = 10
"""Points that are named."""


class Lacking:
    """Points without a vector; in collections whose vector has no name every point has it.

    Parameters
    ----------
    client : qdrant_client.QdrantClient
        An open client.
    vector : str
        The vector's name, or nothing.
    """

    def __init__(self, client: QdrantClient, vector: str) -> None:
        self._client, self._vector = client, vector
        having = [models.HasVectorCondition(has_vector=vector)]
        self._filter = models.Filter(must_not=having)
        self.others = models.Filter(must=having) if vector else None
        """Chooses the points that have it."""

    def told(self, collection: str) -> Nulls:
        """Count them, and name the first."""
        if not self._vector:
            return Nulls()
        count = int(self._client.count(collection, count_filter=self._filter, exact=True).count)
        first = next(self._pages(collection, FIRST), []) if count else []
        return Nulls(count, tuple(point.id for point in first))

    def keep(self, live: str, new: str) -> None:
        """Copy them to a version, with all else that they have; forget those that are gone."""
        if not self._vector:
            return
        for points in self._pages(new):
            ids = [point.id for point in points]
            known = {one.id for one in self._client.retrieve(live, ids, with_payload=False)}
            if gone := [name for name in ids if name not in known]:
                self._client.delete(new, points_selector=models.PointIdsList(points=gone))
        for points in self._pages(live):
            made = [models.PointStruct(id=p.id, vector=p.vector, payload=p.payload) for p in points]
            self._client.upsert(new, made, wait=True)

    def _pages(self, collection: str, size: int = CHUNK) -> Iterator[list[Any]]:
        after = None
        while True:
            points, after = self._client.scroll(
                collection,
                limit=size,
                offset=after,
                scroll_filter=self._filter,
                with_payload=True,
                with_vectors=True,
            )
            if points:
                yield points
            if after is None:
                return
