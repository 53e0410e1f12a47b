"""A server that speaks the part of Qdrant's REST API that is used here, over Qdrant's own engine.

The server itself is not to be had as a package. What it adds to the engine (collections, aliases, keys,
states and errors) is answered as the OpenAPI description of version 1.x and the server's messages say; what
is stored and searched is the engine's, one ``qdrant_edge.EdgeShard`` a collection.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

edge = pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")

HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0}
OPTIMIZERS = {
    "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
    "indexing_threshold": 10000, "flush_interval_sec": 5,
}  # fmt: skip
DISTANCES = {name: getattr(edge.Distance, name) for name in ("Cosine", "Dot", "Euclid", "Manhattan")}


class Answer(Exception):
    """An answer other than a result."""

    def __init__(
        self, status: int, message: str, headers: dict[str, str] | None = None, *, plain: bool = False
    ):
        self.status, self.message, self.headers, self.plain = status, message, headers or {}, plain


@dataclass
class Collection:
    """The engine's shard and what a server knows about it."""

    config: dict[str, Any]
    folder: str
    shard: Any
    schema: dict[str, Any] = field(default_factory=dict)


class QdrantServer:
    """The server, on a free port of this machine.

    Attributes
    ----------
    key : str or None
        What ``api-key`` has to be.
    faults : deque
        Callables that are given (method, path) of each request that writes points; the first one is taken and
        may raise an :class:`Answer`.
    indexing : int
        How many times a collection is said to be still optimising after points were written.
    log : list
        (method, path, body) of each request.
    """

    def __init__(self) -> None:
        self.key: str | None = None
        self.faults: deque[Any] = deque()
        self.indexing, self._left = 0, 0
        self.state: dict[str, Any] | None = None
        self.log: list[tuple[str, str, Any]] = []
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}
        self.root = tempfile.mkdtemp(prefix="embedtune-qdrant-")
        self._lock = threading.RLock()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        for one in self.collections.values():
            one.shard.close()
        shutil.rmtree(self.root, ignore_errors=True)

    # --- requests ----------------------------------------------------------------------

    def answer(self, method: str, path: str, body: Any, key: str | None) -> Any:
        """Give the result of a request, or raise an :class:`Answer`."""
        if self.key is not None and key is None:
            raise Answer(401, "Must provide an API key or an Authorization bearer token", plain=True)
        if self.key is not None and key != self.key:
            raise Answer(401, "Invalid API key or JWT", plain=True)
        with self._lock:
            self.log.append((method, path, body))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if method in ("PUT", "POST") and parts[-1] in ("points", "delete") and "ids" not in (body or {}):
            with self._lock:
                fault = self.faults.popleft() if self.faults else None
            if fault is not None:
                fault(method, path)
        with self._lock:
            return self._route(method, parts, body)

    def _route(self, method: str, parts: list[str], body: Any) -> Any:  # noqa: C901 - a table of routes
        match method, parts:
            case "GET", [""]:
                return {"title": "qdrant - vector search engine", "version": "1.15.0"}
            case "GET", ["collections"]:
                return {"collections": [{"name": name} for name in sorted(self.collections)]}
            case "GET", ["aliases"]:
                pairs = sorted(self.aliases.items())
                return {"aliases": [{"alias_name": a, "collection_name": c} for a, c in pairs]}
            case "POST", ["collections", "aliases"]:
                return self._move(body["actions"])
            case "PUT", ["collections", name]:
                return self._create(name, body)
            case "DELETE", ["collections", name]:
                return self._delete(name)
            case "GET", ["collections", name]:
                return self._info(self._found(name))
            case "PUT", ["collections", name, "index"]:
                self._found(name).schema[body["field_name"]] = {
                    "data_type": body["field_schema"],
                    "points": 0,
                }
                return _done()
            case "PUT", ["collections", name, "points"]:
                return self._upsert(self._found(name), body["points"])
            case "POST", ["collections", name, "points"]:
                found = self._found(name).shard.retrieve(
                    [_id(one) for one in body["ids"]],
                    with_payload=body.get("with_payload", True),
                    with_vector=_wanted(body),
                )
                return [_record(one) for one in found]
            case "POST", ["collections", name, "points", "scroll"]:
                return self._scroll(self._found(name), body)
            case "POST", ["collections", name, "points", "count"]:
                asked = edge.CountRequest(exact=body.get("exact", True), filter=_filter(body))
                return {"count": self._found(name).shard.count(asked)}
            case "POST", ["collections", name, "points", "delete"]:
                self._found(name).shard.update(
                    edge.UpdateOperation.delete_points([_id(one) for one in body["points"]])
                )
                return _done()
            case "POST", ["collections", name, "points", "query"]:
                return self._query(self._found(name), body)
            case "POST", ["collections", name, "points", "query", "batch"]:
                found = self._found(name)
                return [self._query(found, one) for one in body["searches"]]
        raise Answer(404, "Not found: there is no such route")

    def _found(self, name: str) -> Collection:
        """Find a collection by its name or an alias."""
        name = self.aliases.get(name, name)
        if name not in self.collections:
            raise Answer(404, f"Not found: Collection `{name}` doesn't exist!")
        return self.collections[name]

    def _move(self, actions: list[dict[str, Any]]) -> bool:
        """Carry out all actions or none."""
        made = dict(self.aliases)
        for action in actions:
            if "delete_alias" in action:
                if made.pop(action["delete_alias"]["alias_name"], None) is None:
                    raise Answer(
                        404, f"Not found: Alias {action['delete_alias']['alias_name']} does not exist!"
                    )
            else:
                one = action["create_alias"]
                if one["collection_name"] not in self.collections:
                    raise Answer(404, f"Not found: Collection `{one['collection_name']}` doesn't exist!")
                made[one["alias_name"]] = one["collection_name"]
        self.aliases = made
        return True

    def _create(self, name: str, body: dict[str, Any]) -> bool:
        if name in self.collections:
            raise Answer(409, f"Wrong input: Collection `{name}` already exists!")
        given = body["vectors"]
        named = {"": given} if "size" in given else given
        vectors = {
            key: edge.EdgeVectorParams(one["size"], DISTANCES[one["distance"]]) for key, one in named.items()
        }
        folder = tempfile.mkdtemp(dir=self.root)
        told = {key: body[key] for key in ("shard_number", "replication_factor") if body.get(key) is not None}
        config = {
            "params": {"vectors": given, "on_disk_payload": body.get("on_disk_payload", True), **told},
            "hnsw_config": HNSW | _set(body.get("hnsw_config")),
            "optimizer_config": OPTIMIZERS | _set(body.get("optimizers_config")),
            "quantization_config": body.get("quantization_config"),
        }
        shard = edge.EdgeShard.create(folder, edge.EdgeConfig(vectors=vectors))
        self.collections[name] = Collection(config, folder, shard)
        return True

    def _delete(self, name: str) -> bool:
        if name not in self.collections:
            return False
        self.collections.pop(name).shard.close()
        self.aliases = {alias: one for alias, one in self.aliases.items() if one != name}
        return True

    def _info(self, found: Collection) -> dict[str, Any]:
        told = found.shard.info()
        state = {"status": "green", "optimizer_status": "ok"}
        if self._left:
            self._left -= 1
            state = {"status": "yellow", "optimizer_status": "ok"}
        return {
            **(self.state or state),
            "indexed_vectors_count": told.indexed_vectors_count,
            "points_count": told.points_count,
            "segments_count": told.segments_count,
            "config": found.config,
            "payload_schema": found.schema,
        }

    def _upsert(self, found: Collection, points: list[dict[str, Any]]) -> dict[str, Any]:
        made = [edge.Point(_id(one["id"]), one["vector"], one.get("payload") or {}) for one in points]
        _engine(found.shard.update, edge.UpdateOperation.upsert_points(made))
        self._left = self.indexing
        return _done()

    def _scroll(self, found: Collection, body: dict[str, Any]) -> dict[str, Any]:
        offset = body.get("offset")
        asked = edge.ScrollRequest(
            offset=None if offset is None else _id(offset),
            limit=body.get("limit", 10),
            filter=_filter(body),
            with_payload=body.get("with_payload", True),
            with_vector=_wanted(body),
        )
        points, after = found.shard.scroll(asked)
        return {"points": [_record(one) for one in points], "next_page_offset": _plain(after)}

    def _query(self, found: Collection, body: dict[str, Any]) -> dict[str, Any]:
        given = body["query"]
        given = given["nearest"] if isinstance(given, dict) else given
        query = edge.Query.Nearest(given, using=body.get("using") or None)
        asked = edge.QueryRequest(limit=body.get("limit", 10), query=query, with_payload=False)
        points = _engine(found.shard.query, asked)
        return {
            "points": [{"id": _plain(one.id), "version": one.version, "score": one.score} for one in points]
        }


class _Handler(BaseHTTPRequestHandler):
    owner: QdrantServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        began = time.perf_counter()
        headers: dict[str, str] = {"Content-Type": "application/json"}
        try:
            result = self.owner.answer(
                self.command, urlsplit(self.path).path, body, self.headers.get("api-key")
            )
            status, told = 200, {"result": result, "status": "ok", "time": time.perf_counter() - began}
            text = json.dumps(told).encode()
        except Exception as error:  # noqa: BLE001 - told to who asked
            one = error if isinstance(error, Answer) else Answer(500, f"the test's server failed: {error!r}")
            status, headers = one.status, headers | one.headers
            text = json.dumps({"status": {"error": one.message}, "time": 0.0002}).encode()
            if one.plain:
                headers["Content-Type"], text = "text/plain; charset=utf-8", one.message.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server wants

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _engine(call: Any, given: Any) -> Any:
    """Call the engine; what it refuses is the server's wrong input."""
    try:
        return call(given)
    except Exception as error:  # noqa: BLE001 - the engine raises nothing narrower
        raise Answer(400, f"Wrong input: {error}") from None


def _done() -> dict[str, Any]:
    return {"operation_id": 0, "status": "completed"}


def _set(given: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (given or {}).items() if value is not None}


def _id(given: int | str) -> int | uuid.UUID:
    if isinstance(given, int):
        return given
    try:
        return uuid.UUID(given)
    except ValueError:
        message = (
            f"value {given} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        )
        raise Answer(400, f"Format error in JSON body: {message}") from None


def _plain(given: Any) -> Any:
    return str(given) if isinstance(given, uuid.UUID) else given


def _wanted(body: dict[str, Any]) -> Any:
    given = body.get("with_vector", body.get("with_vectors", False))
    return given if given is not None else False


def _record(one: Any) -> dict[str, Any]:
    return {"id": _plain(one.id), "payload": one.payload, "vector": one.vector}


def _filter(body: dict[str, Any]) -> Any:
    """Understand the one condition that is used: that a point has a vector of a name."""
    given = body.get("filter")
    if not given:
        return None
    parts = {
        key: [edge.HasVectorCondition(one["has_vector"]) for one in given[key]]
        for key in ("must", "must_not")
        if given.get(key)
    }
    return edge.Filter(**parts)
