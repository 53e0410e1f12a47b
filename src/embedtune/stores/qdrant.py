"""Qdrant: a version is a collection with the same payload; the switch moves an alias in one call."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from embedtune.errors import StoreError
from embedtune.stores.aliased import Aliased
from embedtune.stores.base import BASE, LIVE, Batch, CatchUp, Id, Nulls
from embedtune.stores.copies import refuse_full
from embedtune.stores.qdrant_answers import ERRORS, explain, patient
from embedtune.stores.qdrant_lacking import Lacking
from embedtune.stores.url import StoreURL
from embedtune.types import Similarity, Vectors

CHUNK = 256
"""Points of one request."""

POLL = 0.5
"""Seconds between two looks at whether the server has built its index."""


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

    _opened = False

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
        if self._local and client is None and not Path(url.local_path).expanduser().is_dir():
            self._refuse("there is no such folder", "check the path")
        with self._told():
            self._client = client or self._connect()
        self._check_alias()
        with self._told():
            params = self._client.get_collection(self._name).config.params
        vectors = params.vectors
        if not isinstance(vectors, models.VectorParams):
            names = ", ".join(vectors or {})
            if self._vector not in (vectors or {}):
                self._refuse("the collection has named vectors", f"name one with ?vector=, of {names}")
            vectors = (vectors or {})[self._vector]
        elif self._vector:
            self._refuse(
                f"the collection's vector has no name, and not {self._vector!r}", "leave ?vector= out"
            )
        if vectors.multivector_config is not None:
            self._refuse("its points have several vectors each, and a map takes one", "name another vector")
        if params.sharding_method == models.ShardingMethod.CUSTOM:
            self._refuse("its shards have keys of their own, which are not known here", "apply it to a copy")
        self._lacking = Lacking(self._client, self._vector)
        self._opened = True
        self.dimension = int(vectors.size)
        self.tolerance = 1e-6 if vectors.distance == models.Distance.COSINE else 0.0
        if vectors.datatype not in (None, models.Datatype.FLOAT32):
            self.tolerance = 1e-3

    def _connect(self) -> QdrantClient:
        if self._local:
            return QdrantClient(path=str(Path(self._given.local_path).expanduser()))
        secure = self._given.parameters.get("ssl", "").lower() in ("1", "true", "yes")
        host = self._given.host or "localhost"
        with warnings.catch_warnings():
            if host in ("localhost", "127.0.0.1", "::1"):  # a key without https goes no farther
                warnings.simplefilter("ignore", UserWarning)
            client = QdrantClient(
                host=host,
                port=self._given.port or 6333,
                https=secure,
                api_key=os.environ.get("QDRANT_API_KEY"),
                timeout=60,
                check_compatibility=False,
            )
        client.http.client.add_middleware(
            lambda request, send: patient(request, send) if self._opened else send(request)
        )
        return client

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
        """Count the points that have the vector."""
        return int(self._client.count(collection, count_filter=self._lacking.others, exact=True).count)

    def nulls(self) -> Nulls:
        """Find the points that lack the named vector."""
        with self._told():
            return self._lacking.told(self._of(LIVE))

    def _get(self, collection: str, ids: list[Id]) -> dict[Id, tuple[Any, dict[str, Any]]]:
        """Give vector and the rest: payload, and other vectors under their names."""
        found: dict[Id, tuple[Any, dict[str, Any]]] = {}
        wanted = [int(one) if str(one).isdigit() else one for one in ids]
        for start in range(0, len(wanted), CHUNK):
            some: Any = wanted[start : start + CHUNK]
            for point in self._client.retrieve(collection, some, with_payload=True, with_vectors=True):
                given: Any = point.vector
                if self._vector and self._vector not in given:
                    continue
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
                    collection,
                    limit=batch,
                    offset=after,
                    scroll_filter=self._lacking.others,
                    with_payload=False,
                    with_vectors=names,
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
            self._client.create_collection(
                self._of(version),
                vectors_config=vectors,
                sparse_vectors_config=params.sparse_vectors,
                on_disk_payload=params.on_disk_payload,
                shard_number=params.shard_number,
                replication_factor=params.replication_factor,
                write_consistency_factor=params.write_consistency_factor,
                hnsw_config=_as(models.HnswConfigDiff, live.config.hnsw_config),
                optimizers_config=_as(models.OptimizersConfigDiff, live.config.optimizer_config),
                quantization_config=live.config.quantization_config,
            )
            for name, field in live.payload_schema.items():
                self._client.create_payload_index(self._of(version), name, field.params or field.data_type)

    def index(self, version: str, similarity: str) -> str:
        """Wait until the server has built the index of what was written."""
        with self._told():
            collection = self._of(version)
            while (told := self._client.get_collection(collection)).status == models.CollectionStatus.YELLOW:
                time.sleep(POLL)
        if told.status == models.CollectionStatus.RED:
            error = str(getattr(told.optimizer_status, "error", told.optimizer_status))
            refuse_full(error, self.url)
            self._refuse(f"Qdrant could not index the new version: {error[:300]}", "mend it, and --resume")
        return super().index(version, similarity)

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Copy what has no vector too, and move the alias."""
        with self._told():
            self._lacking.keep(self._of(LIVE), self._of(version))
        super().switch(version, catch_up)

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search as an application would; ``effort`` sets ``hnsw_ef``."""
        found: list[list[Id]] = []
        with self._told(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a local folder has no graph that could be set
            setting = None if effort is None else models.SearchParams(hnsw_ef=effort)
            collection = self._of(version)
            for start in range(0, len(queries), 50):
                asked = [
                    models.QueryRequest(
                        query=query.tolist(), using=self._vector or None, limit=k, params=setting
                    )
                    for query in queries[start : start + 50]
                ]
                answers = self._client.query_batch_points(collection, asked)
                found += [[point.id for point in answer.points] for answer in answers]
        return found

    def close(self) -> None:
        """Close the client; a local folder is free again."""
        self._client.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            if isinstance(error, StoreError):
                raise
            what, fix = explain(error)
            refuse_full(what, self.url)
            self._refuse(what, fix)


def _as(kind: type[Any], config: Any) -> Any:
    """Give those settings of a collection that can be set when one is made."""
    return kind(**{key: value for key, value in config.model_dump().items() if key in kind.model_fields})
