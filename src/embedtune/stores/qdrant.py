"""Qdrant: a version is a collection with the same payload; the switch moves an alias in one call."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from embedtune.errors import StoreError
from embedtune.stores.aliased import Aliased
from embedtune.stores.base import BASE, LIVE, Batch, Id
from embedtune.stores.url import StoreURL
from embedtune.types import Similarity, Vectors

CHUNK = 256
"""Points of one request."""


class Qdrant(Aliased):
    """An alias, ``qdrant://host:6333/alias``, or of a local folder, ``qdrant+file:///folder#alias``.

    Parameters
    ----------
    url : StoreURL
        ``vector`` names one of several vectors; ``text`` the payload's field of texts; ``ssl=true`` for
        https. A key comes from the environment, ``QDRANT_API_KEY``.
    client : qdrant_client.QdrantClient, optional
        One that is open already.

    Raises
    ------
    StoreError
        When the server cannot be reached, or the alias is not there.
    """

    def __init__(self, url: StoreURL, client: QdrantClient | None = None) -> None:
        self._given, self.url = url, str(url)
        url.only("vector", "text", "ssl")
        self._local = url.scheme.endswith("+file")
        self._name = url.fragment if self._local else url.path.strip("/")
        self._vector, self._text = url.parameters.get("vector", ""), url.parameters.get("text")
        if not self._name:
            self._refuse(
                "the URL names no alias", "write qdrant://host:6333/ALIAS, or qdrant+file:///folder#ALIAS"
            )
        with self._told():
            self._client = client or self._connect()
        self._check_alias()
        with self._told():
            vectors = self._client.get_collection(self._name).config.params.vectors
        if not isinstance(vectors, models.VectorParams):
            names = ", ".join(vectors or {})
            if self._vector not in (vectors or {}):
                self._refuse("the collection has named vectors", f"name one with ?vector=, of {names}")
            vectors = (vectors or {})[self._vector]
        self.dimension = int(vectors.size)
        self.tolerance = 1e-6 if vectors.distance == models.Distance.COSINE else 0.0
        if vectors.datatype not in (None, models.Datatype.FLOAT32):
            self.tolerance = 1e-3

    def _connect(self) -> QdrantClient:
        if self._local:
            return QdrantClient(path=self._given.local_path)
        secure = self._given.parameters.get("ssl", "").lower() in ("1", "true", "yes")
        return QdrantClient(
            host=self._given.host or "localhost",
            port=self._given.port or 6333,
            https=secure,
            api_key=os.environ.get("QDRANT_API_KEY"),
            timeout=60,
            check_compatibility=False,
        )

    def _aliases(self) -> dict[str, str]:
        return {one.alias_name: one.collection_name for one in self._client.get_aliases().aliases}

    def _collections(self) -> list[str]:
        return [one.name for one in self._client.get_collections().collections]

    def _move(self, live: str, base: str | None) -> None:
        old = f"{self._name}__et_{BASE}"
        steps: list[Any] = []
        for alias, target in ((self._name, live), (old, base)):
            if alias in self._aliases():
                steps.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
            if target is not None:
                made = models.CreateAlias(collection_name=target, alias_name=alias)
                steps.append(models.CreateAliasOperation(create_alias=made))
        self._client.update_collection_aliases(steps)

    def _drop(self, collection: str) -> None:
        self._client.delete_collection(collection)

    def _rows(self, collection: str) -> int:
        return int(self._client.count(collection, exact=True).count)

    def _get(self, collection: str, ids: list[Id]) -> dict[Id, tuple[Any, dict[str, Any]]]:
        """Give vector and the rest: payload, and other vectors under their names."""
        found: dict[Id, tuple[Any, dict[str, Any]]] = {}
        wanted = [int(one) if str(one).isdigit() else one for one in ids]
        for start in range(0, len(wanted), CHUNK):
            some: Any = wanted[start : start + CHUNK]
            for point in self._client.retrieve(collection, some, with_payload=True, with_vectors=True):
                given: Any = point.vector
                others = (
                    {k: v for k, v in given.items() if k != self._vector} if isinstance(given, dict) else {}
                )
                vector = given[self._vector] if isinstance(given, dict) else given
                found[point.id] = vector, {"payload": point.payload or {}, "others": others}
        return found

    def _put(self, collection: str, rows: dict[Id, tuple[Any, dict[str, Any]]]) -> None:
        points = []
        for name, (vector, rest) in rows.items():
            values = np.asarray(vector).tolist()
            given = {**rest["others"], self._vector: values} if self._vector else values
            points.append(models.PointStruct(id=name, vector=given, payload=rest["payload"]))
        for start in range(0, len(points), CHUNK):
            self._client.upsert(collection, points[start : start + CHUNK], wait=True)

    def _delete(self, collection: str, ids: list[Id]) -> None:
        if ids:
            self._client.delete(collection, points_selector=models.PointIdsList(points=list(ids)))

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through the points by id."""
        with self._told():
            collection, after = self._of(version), None
            names: Any = [self._vector] if self._vector else True
            while True:
                points, after = self._client.scroll(
                    collection, limit=batch, offset=after, with_payload=False, with_vectors=names
                )
                given: list[Any] = [point.vector for point in points]
                vectors = [one[self._vector] if isinstance(one, dict) else one for one in given]
                if points:
                    yield Batch([point.id for point in points], np.asarray(vectors, np.float32))
                if after is None:
                    return

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Give the texts of the payload's field ``text``."""
        if self._text is None:
            return {}
        with self._told():
            found = self._get(self._of(LIVE), list(ids))
        texts = {name: rest["payload"].get(self._text) for name, (_, rest) in found.items()}
        return {name: str(text) for name, text in texts.items() if text}

    def prepare(self, version: str, dimension: int) -> None:
        """Make a collection with the settings and payload indexes of the live one."""
        with self._told():
            if self._of(version) in self._collections():
                return
            live = self._client.get_collection(self._name)
            params = live.config.params
            vectors: Any = params.vectors
            if isinstance(vectors, models.VectorParams):
                vectors = vectors.model_copy(update={"size": dimension})
            else:
                one = vectors[self._vector].model_copy(update={"size": dimension})
                vectors = {**vectors, self._vector: one}
            graph = live.config.hnsw_config
            self._client.create_collection(
                self._of(version),
                vectors_config=vectors,
                sparse_vectors_config=params.sparse_vectors,
                on_disk_payload=params.on_disk_payload,
                shard_number=params.shard_number,
                replication_factor=params.replication_factor,
                hnsw_config=models.HnswConfigDiff(m=graph.m, ef_construct=graph.ef_construct),
                quantization_config=live.config.quantization_config,
            )
            for name, field in live.payload_schema.items():
                self._client.create_payload_index(self._of(version), name, field.params or field.data_type)

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search as an application would; ``effort`` sets ``hnsw_ef``."""
        found: list[list[Id]] = []
        with self._told(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a local folder has no graph that could be set
            setting = None if effort is None else models.SearchParams(hnsw_ef=effort)
            collection = self._of(version)
            for query in queries:
                points = self._client.query_points(
                    collection,
                    query=query.tolist(),
                    using=self._vector or None,
                    limit=k,
                    search_params=setting,
                    with_payload=False,
                ).points
                found.append([point.id for point in points])
        return found

    def close(self) -> None:
        """Close the client; a local folder is free again."""
        self._client.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (ApiException, RuntimeError, ValueError) as error:
            if isinstance(error, StoreError):
                raise
            text = str(error).strip().splitlines() or [type(error).__name__]
            self._refuse(
                f"Qdrant says: {text[0][:300]}", "check that it runs, URL and key, then go on with --resume"
            )
