"""Milvus and Milvus Lite: a version is a collection of its own; the switch moves an alias in one call."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

from embedtune.stores.aliased import Aliased
from embedtune.stores.base import BASE, LIVE, Batch, Id
from embedtune.stores.copies import refuse_full
from embedtune.stores.milvus_answers import ERRORS, explain
from embedtune.stores.url import StoreURL
from embedtune.types import Similarity, Vectors


class Milvus(Aliased):
    """An alias, ``milvus://host:19530/alias``, or of a Milvus Lite file, ``milvus:///path/file.db#alias``.

    Parameters
    ----------
    url : StoreURL
        ``vector`` names the field of vectors, by default the only one; ``text`` that of the texts;
        ``ssl=true`` for https. User and password of the URL, or ``MILVUS_TOKEN`` of the environment, open it.

    Raises
    ------
    StoreError
        When the server cannot be reached, or the alias is not there.
    """

    def __init__(self, url: StoreURL) -> None:
        self._given, self.url = url, str(url)
        url.only("vector", "text", "ssl")
        self._local = url.host is None or url.path.endswith(".db")
        self._name = url.fragment if self._local else url.path.strip("/")
        if not self._name:
            self._refuse(
                "the URL names no alias", "write milvus://host:19530/ALIAS, or milvus:///path/file.db#ALIAS"
            )
        self._text = url.parameters.get("text")
        if self._local and not Path(url.local_path).expanduser().exists():
            self._refuse("there is no such file", "check the path")
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints what it raises
        with self._told():
            self._client = self._connect()
        self._check_alias()
        with self._told():
            self._fields = self._client.describe_collection(self._of(LIVE))["fields"]
        dense = [one["name"] for one in self._fields if one["type"] == DataType.FLOAT_VECTOR]
        self._vector = url.parameters.get("vector") or (dense[0] if len(dense) == 1 else "")
        if self._vector not in dense:
            self._refuse("it is not told which field has the vectors", f"name one with ?vector=, of {dense}")
        field = next(one for one in self._fields if one["name"] == self._vector)
        self.dimension = int(field["params"]["dim"])
        self._key = next(one["name"] for one in self._fields if one.get("is_primary"))

    def _connect(self) -> MilvusClient:
        if self._local:
            return MilvusClient(str(Path(self._given.local_path).expanduser()))
        secure = self._given.parameters.get("ssl", "").lower() in ("1", "true", "yes")
        place = f"{'https' if secure else 'http'}://{self._given.host}:{self._given.port or 19530}"
        user, password = self._given.parts.username, self._given.parts.password
        token = f"{user}:{password}" if user else os.environ.get("MILVUS_TOKEN", "")
        return MilvusClient(place, token=token)

    def _aliases(self) -> dict[str, str]:
        found = {}
        for collection in self._collections():
            told = self._client.list_aliases(collection)
            for alias in told["aliases"] if isinstance(told, dict) else told:
                found[alias] = collection
        return found

    def _collections(self) -> list[str]:
        return list(self._client.list_collections())

    def _move(self, live: str, base: str | None) -> None:
        """Point the base's alias first: where it points to the live collection there is no base."""
        old = f"{self._name}__et_{BASE}"
        if base is not None:
            make = self._client.alter_alias if old in self._aliases() else self._client.create_alias
            make(base, old)
        self._client.alter_alias(live, self._name)
        if base is None and old in self._aliases():
            self._client.drop_alias(old)

    def _drop(self, collection: str) -> None:
        self._client.drop_collection(collection)

    def _rows(self, collection: str) -> int:
        return int(self._client.query(collection, output_fields=["count(*)"])[0]["count(*)"])

    def _get(self, collection: str, ids: list[Id]) -> dict[Id, tuple[Any, dict[str, Any]]]:
        if not ids:
            return {}
        kind = next(one["type"] for one in self._fields if one["name"] == self._key)
        number = kind == DataType.INT64
        wanted = [int(one) if number else str(one) for one in ids]
        rows = self._client.query(
            collection, filter=f"{self._key} in {json.dumps(wanted)}", output_fields=["*"]
        )
        return {
            row[self._key]: (row[self._vector], {k: v for k, v in row.items() if k != self._vector})
            for row in rows
        }

    def _put(self, collection: str, rows: dict[Id, tuple[Any, dict[str, Any]]]) -> None:
        made = [{**rest, self._vector: np.asarray(vector, np.float32)} for vector, rest in rows.values()]
        if made:
            self._client.upsert(collection, made)

    def _delete(self, collection: str, ids: list[Id]) -> None:
        if ids:
            self._client.delete(collection, ids=list(ids))

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through the rows."""
        with self._told():
            rows = self._client.query_iterator(
                self._of(version), batch_size=min(batch, 16384), output_fields=[self._key, self._vector]
            )
            try:
                while found := rows.next():
                    vectors = np.asarray([row[self._vector] for row in found], np.float32)
                    yield Batch([row[self._key] for row in found], vectors)
            finally:
                rows.close()

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Give the texts of the field ``text``."""
        if self._text is None:
            return {}
        with self._told():
            found = self._get(self._of(LIVE), list(ids))
        texts = {name: rest.get(self._text) for name, (_, rest) in found.items()}
        return {name: str(text) for name, text in texts.items() if text}

    def prepare(self, version: str, dimension: int) -> None:
        """Make a collection with the fields and indexes of the live one."""
        with self._told():
            if self._of(version) in self._collections():
                return
            live = self._of(LIVE)
            told = self._client.describe_collection(live)
            schema = self._client.create_schema(
                auto_id=False, enable_dynamic_field=bool(told.get("enable_dynamic_field"))
            )
            for field in told["fields"]:
                options = dict(field.get("params") or {})
                if field["name"] == self._vector:
                    options["dim"] = dimension
                schema.add_field(
                    field["name"],
                    field["type"],
                    is_primary=bool(field.get("is_primary")),
                    nullable=bool(field.get("nullable")),
                    **options,
                )
            indexes = self._client.prepare_index_params()
            for name in self._client.list_indexes(live):
                one = self._client.describe_index(live, name)
                known = {"index_type", "metric_type", "field_name", "index_name"}
                rest = {k: v for k, v in one.items() if k in ("M", "efConstruction", "nlist", "m", "nbits")}
                indexes.add_index(**{k: one[k] for k in known if one.get(k)}, params=rest)
            self._client.create_collection(self._of(version), schema=schema, index_params=indexes)

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search as an application would; ``effort`` sets ``ef`` and ``nprobe``."""
        setting = {} if effort is None else {"params": {"ef": effort, "nprobe": max(8, effort // 8)}}
        found: list[list[Id]] = []
        with self._told():
            for start in range(0, len(queries), 50):
                some = queries[start : start + 50].tolist()
                hits = self._client.search(
                    self._of(version), data=some, limit=k, anns_field=self._vector, search_params=setting
                )
                found += [[hit[self._key] for hit in one] for one in hits]
        return found

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            what, fix = explain(error)
            refuse_full(what, self.url)
            self._refuse(what, fix)
