"""Stores that runs are killed on, each with how all of its live rows are read from outside embedtune."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from apply_postgres import connected, fill_table, postgres
from apply_worker import unit

WIDTH = 32

Look = Callable[[], bytes]
"""Reads every live row, as :func:`packed`; may be sent to another process."""


@dataclass(frozen=True)
class Case:
    """A store with rows in it."""

    url: str
    look: Look
    batch: int
    """Rows that are written at a time."""


def packed(ids: Any, vectors: Any) -> bytes:
    """Give ids, int64, and then vectors, little-endian float32, in the order of the ids."""
    ids = np.asarray(ids, "<i8")
    order = np.argsort(ids)
    return bytes(ids[order].tobytes() + np.asarray(vectors, "<f4")[order].tobytes())


def unpacked(rows: bytes) -> tuple[Any, Any]:
    """Give ids (n,) and vectors (n, d) back."""
    count = len(rows) // (8 + 4 * WIDTH)
    vectors = np.frombuffer(rows, "<f4", offset=8 * count).reshape(count, WIDTH)
    return np.frombuffer(rows, "<i8", count), vectors


@dataclass(frozen=True)
class PgLook:
    """One statement, on a connection that stays open."""

    uri: str

    def __call__(self) -> bytes:
        rows = _connection(self.uri).execute("select id, vector_send(embedding) from docs").fetchall()
        kind = [("dimension", ">i2"), ("unused", ">i2"), ("values", ">f4", (WIDTH,))]
        sent = np.frombuffer(b"".join(row[1] for row in rows), kind)
        return packed([row[0] for row in rows], sent["values"])


@functools.cache
def _connection(uri: str) -> Any:
    return connected(uri)


@dataclass(frozen=True)
class LanceLook:
    """One scan of the table as it is opened anew."""

    folder: str

    def __call__(self) -> bytes:
        import lancedb

        table = lancedb.connect(self.folder).open_table("docs")
        rows = table.search().select(["id", "vector"]).limit(None).to_arrow()
        flat = rows["vector"].combine_chunks().flatten().to_numpy()
        return packed(rows["id"].to_numpy(), flat.reshape(-1, WIDTH))


@dataclass(frozen=True)
class ChromaLook:
    """One request for all rows, of the collection that the pointer names just now."""

    port: int

    def __call__(self) -> bytes:
        from embedtune.stores.chroma_pointer import follow

        found = follow(chroma_client(self.port), "docs").get(include=["embeddings"])
        return packed([int(name) for name in found["ids"]], found["embeddings"])


@functools.cache
def chroma_client(port: int) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.HttpClient(host="127.0.0.1", port=port, settings=Settings(anonymized_telemetry=False))


@contextlib.contextmanager
def pg_case(rows: int | None) -> Iterator[Case]:
    """Serve Postgres, with an HNSW index on the column."""
    with postgres() as uri, connected(uri) as connection:
        fill_table(connection, rows or 10_000, WIDTH, seed=1)
        connection.execute(
            "create index on docs using hnsw (embedding vector_cosine_ops) with (m = 8, ef_construction = 32)"
        )
        yield Case(f"{uri}&table=docs&column=embedding", PgLook(uri), 100)


@contextlib.contextmanager
def lance_case(rows: int | None) -> Iterator[Case]:
    """Make a database in a folder; each batch is a commit."""
    import lancedb
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        vectors = numbers(rows or 4_000)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
        table = pa.table({"id": pa.array(range(len(vectors))), "vector": column})
        lancedb.connect(folder).create_table("docs", table)
        yield Case(f"lancedb://{folder}#docs", LanceLook(folder), 50)


@contextlib.contextmanager
def chroma_case(rows: int | None) -> Iterator[Case]:
    """Serve Chroma; readers follow the pointer to the live collection."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        program = [str(Path(sys.executable).parent / "chroma"), "run", "--path", folder]
        server = subprocess.Popen(
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while _closed(port):
                time.sleep(0.05)
            made = chroma_client(port).create_collection(
                "docs", configuration={"hnsw": {"space": "ip"}}, embedding_function=None
            )
            vectors = numbers(rows or 10_000)
            for first in range(0, len(vectors), 1000):
                some = vectors[first : first + 1000]
                made.add(ids=[str(first + i) for i in range(len(some))], embeddings=some)
            yield Case(f"chroma+pointer://127.0.0.1:{port}/docs", ChromaLook(port), 200)
        finally:
            server.terminate()
            server.wait()


CASES = {"pgvector": pg_case, "LanceDB": lance_case, "Chroma": chroma_case}


def numbers(count: int) -> Any:
    return unit(np.random.default_rng(1).standard_normal((count, WIDTH)))


def _closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
