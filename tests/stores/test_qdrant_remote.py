"""Qdrant over HTTP: what only a server does, through the real client; see ``qdrant_server.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import httpx
import numpy as np
import pytest

from embedtune import stores
from embedtune.errors import DiskFull, StoreError

pytest.importorskip("qdrant_client")
pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException
from qdrant_server import Answer

from embedtune.stores import qdrant as qdrant_module
from embedtune.stores import qdrant_answers

BUSY = "Rate limiting exceeded: Write rate limit exceeded, retry later"
FULL = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    waits = []
    monkeypatch.setattr(qdrant_module, "POLL", 0.001)
    monkeypatch.setattr(qdrant_answers.time, "sleep", waits.append)
    return waits


@pytest.fixture
def client(qdrant_server):
    opened = QdrantClient(host="127.0.0.1", port=qdrant_server.port, check_compatibility=False)
    yield opened
    opened.close()


def says(status, message, headers=None):
    def fault(method, path):
        raise Answer(status, message, headers)

    return fault


def versions_seen(server):
    return {name for name in server.collections if name != "docs_1"}


def test_the_alias_moves_in_one_request_and_readers_see_one_version(
    qdrant_server, qdrant_remote, tuned, mapped
):
    old = qdrant_remote.read()
    new = mapped(old)
    seen, failed, over = [], [], threading.Event()

    def reads():
        reader = QdrantClient(host="127.0.0.1", port=qdrant_server.port, check_compatibility=False)
        while not over.is_set():
            try:
                points, _ = reader.scroll("docs", limit=1000, with_vectors=True)
                rows = {str(one.id): np.array(one.vector, np.float32) for one in points}
                near = [all(np.allclose(rows[i], x[i], atol=2e-6) for i in x) for x in (old, new)]
                seen.append(near.index(True) if any(near) else -1)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed read
                failed.append(error)
        reader.close()

    reader = threading.Thread(target=reads)
    reader.start()
    result = stores.apply(tuned, qdrant_remote.url)
    over.set()
    reader.join()
    assert not failed
    assert seen == sorted(seen)  # the old one, then the new one, never neither
    assert set(seen) <= {0, 1}
    moves = [body for method, path, body in qdrant_server.log if path == "/collections/aliases"][1:]
    name = f"docs__et_{result.version}"
    assert moves == [
        {
            "actions": [
                {"delete_alias": {"alias_name": "docs"}},
                {"create_alias": {"collection_name": name, "alias_name": "docs"}},
                {"create_alias": {"collection_name": "docs_1", "alias_name": "docs__et_base"}},
            ]
        }
    ]
    stores.rollback(qdrant_remote.url)
    assert qdrant_server.aliases == {"docs": "docs_1"}
    assert set(qdrant_server.collections) == {"docs_1", name}
    assert stores.prune(qdrant_remote.url) == [result.version]
    assert set(qdrant_server.collections) == {"docs_1"}


def test_a_killed_run_is_gone_on_with(qdrant_server, qdrant_remote, artifact, mapped):
    old = qdrant_remote.read()
    held, let = threading.Event(), threading.Event()

    def hold(method, path):
        held.set()
        let.wait(30)

    qdrant_server.faults.extend([lambda *_: None] * 2 + [hold])
    program = "import sys; from embedtune import stores; stores.apply(*sys.argv[1:], probe=False, batch=50)"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(artifact), qdrant_remote.url],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    assert held.wait(60)
    process.kill()
    process.wait()
    let.set()
    assert len(versions_seen(qdrant_server)) == 1
    assert all(np.array_equal(row, old[name]) for name, row in qdrant_remote.read().items())
    result = stores.apply(artifact, qdrant_remote.url, resume=True, probe=False)
    assert 0 < result.written < 600
    wanted = mapped(old)
    assert all(np.allclose(row, wanted[name], atol=2e-6) for name, row in qdrant_remote.read().items())


def test_a_busy_server_is_waited_for_as_it_asks(qdrant_server, qdrant_remote, tuned, quick):
    qdrant_server.faults.extend([says(429, BUSY, {"Retry-After": "7"}), says(503, "Service is not ready")])
    assert stores.apply(tuned, qdrant_remote.url).written == 600
    assert quick[:2] == [7.0, 1.0]


def test_a_lost_connection_is_tried_again_and_a_strange_answer_is_not(quick):
    lost, strange = (
        ResponseHandlingException(error) for error in (httpx.ReadError("reset"), ValueError("no JSON"))
    )
    answers = [lost, httpx.Response(503), lost, httpx.Response(200)]

    def send(request):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    request = httpx.Request("GET", "http://here/collections")
    assert qdrant_answers.patient(request, send).status_code == 200
    assert quick == [0.5, 1.0, 2.0]
    answers[:] = [strange]
    with pytest.raises(ResponseHandlingException):
        qdrant_answers.patient(request, send)
    answers[:] = [httpx.Response(429, headers={"Retry-After": "3600"})] * 6
    assert qdrant_answers.patient(request, send).status_code == 429
    assert quick[3:] == [qdrant_answers.LONGEST] * 5


def test_a_server_that_stays_busy_is_told_and_nothing_is_lost(qdrant_server, qdrant_remote, tuned):
    old = qdrant_remote.read()
    qdrant_server.faults.extend([says(429, BUSY, {"Retry-After": "1"})] * 6)
    with pytest.raises(StoreError, match=r"Rate limiting exceeded: Write rate limit.*--resume"):
        stores.apply(tuned, qdrant_remote.url)
    assert all(np.array_equal(row, old[name]) for name, row in qdrant_remote.read().items())
    assert stores.apply(tuned, qdrant_remote.url, resume=True).written == 600


def test_a_full_disk_is_told_and_what_was_begun_is_taken_away(qdrant_server, qdrant_remote, tuned):
    qdrant_server.faults.extend([lambda *_: None, says(500, FULL)])
    with pytest.raises(DiskFull, match="no room left on the server's disk"):
        stores.apply(tuned, qdrant_remote.url, batch=256)
    assert set(qdrant_server.collections) == {"docs_1"}


def test_the_index_is_waited_for(qdrant_server, qdrant_remote, tuned, quick):
    qdrant_server.indexing = 3
    assert stores.apply(tuned, qdrant_remote.url).status == "switched"
    assert quick.count(0.001) == 3


def test_an_index_that_failed_is_told(qdrant_server, qdrant_remote, tuned):
    def break_index(stage, done, total):
        if stage == "index":
            error = "Service internal error: the segment is broken"
            qdrant_server.state = {"status": "red", "optimizer_status": {"error": error}}

    with pytest.raises(StoreError, match="could not index the new version: Service internal error: the segm"):
        stores.apply(tuned, qdrant_remote.url, progress=break_index)
    assert qdrant_server.aliases == {"docs": "docs_1"}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "refuses the key (401: Must provide an API key or an Authorization bearer token)"),
        ("wrong-key", "refuses the key (401: Invalid API key or JWT)"),
    ],
)
def test_a_key_that_is_refused_is_told_and_not_shown(qdrant_server, qdrant_remote, monkeypatch, key, said):
    qdrant_server.key = "right-key"
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("QDRANT_API_KEY", key)
    with pytest.raises(StoreError) as caught:
        stores.open_store(qdrant_remote.url)
    assert said in str(caught.value)
    assert "set QDRANT_API_KEY" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "wrong-key" not in str(caught.value)
    monkeypatch.setenv("QDRANT_API_KEY", "right-key")
    store = stores.open_store(qdrant_remote.url)
    assert store.count() == 600
    store.close()


def test_what_is_not_there_is_told(qdrant_server, qdrant_remote, monkeypatch):
    with pytest.raises(StoreError, match="there is no alias 'dogs'; choose from docs"):
        stores.open_store(qdrant_remote.url.replace("/docs", "/dogs"))
    store = stores.open_store(qdrant_remote.url)
    qdrant_server.collections.pop("docs_1").shard.close()
    with pytest.raises(StoreError, match="404, Not found: Collection `docs_1` doesn't exist!"):
        store.count()
    store.close()
    with pytest.raises(StoreError, match="Qdrant cannot be reached"):
        stores.open_store("qdrant://127.0.0.1:1/docs")

    def late(*_):
        raise httpx.ReadTimeout("timed out")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", late)
    with pytest.raises(StoreError, match="Qdrant did not answer in time"):
        stores.open_store(qdrant_remote.url)


def test_what_is_no_qdrant_is_told(chroma_server):
    with pytest.raises(StoreError, match=r"Qdrant says: 404|no Qdrant server"):
        stores.open_store(f"qdrant://127.0.0.1:{chroma_server}/docs")


def test_vectors_of_a_wrong_size_are_refused_by_the_engine_and_told(qdrant_server, qdrant_remote):
    store = stores.open_store(qdrant_remote.url)
    store.prepare("v1", 8)
    with pytest.raises(StoreError, match="400, Wrong input: Vector dimension error: expected dim: 8, got 16"):
        store.write("v1", [1], np.ones((1, 16), np.float32))
    store.close()


def test_a_new_version_has_the_settings_of_the_live_one(qdrant_server, client, tuned, vectors):
    client.create_collection(
        "set_1",
        vectors_config=models.VectorParams(size=16, distance=models.Distance.DOT),
        hnsw_config=models.HnswConfigDiff(m=8, ef_construct=64, full_scan_threshold=20000),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=5000),
        on_disk_payload=False,
    )
    client.create_payload_index("set_1", "kind", models.PayloadSchemaType.KEYWORD)
    alias = models.CreateAlias(collection_name="set_1", alias_name="set")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    names = [str(uuid.UUID(int=i)) for i in range(600)]
    points = [models.PointStruct(id=n, vector=x.tolist()) for n, x in zip(names, vectors, strict=True)]
    client.upsert("set", points, wait=True)
    stores.apply(tuned, f"qdrant://127.0.0.1:{qdrant_server.port}/set", probe=False)
    found = client.get_collection("set")
    config = found.config
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (8, 64)
    assert config.hnsw_config.full_scan_threshold == 20000
    assert config.optimizer_config.indexing_threshold == 5000
    assert config.params.on_disk_payload is False
    assert list(found.payload_schema) == ["kind"]
    assert found.points_count == 600


def test_points_without_the_named_vector_are_listed_and_kept(qdrant_server, client, tuned, mapped, vectors):
    params = models.VectorParams(size=16, distance=models.Distance.DOT)
    client.create_collection("two_1", vectors_config={"text": params, "title": params})
    alias = models.CreateAlias(collection_name="two_1", alias_name="two")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    points = []
    for i, row in enumerate(vectors):
        given = {"title": vectors[0].tolist()} | ({} if i in (7, 9) else {"text": row.tolist()})
        points.append(models.PointStruct(id=i, vector=given, payload={"n": i}))
    client.upsert("two", points, wait=True)
    url = f"qdrant://127.0.0.1:{qdrant_server.port}/two?vector=text"
    done = stores.apply(tuned, url)
    assert (done.rows, done.nulls) == (598, stores.Nulls(2, (7, 9)))
    wanted = mapped({str(i): row for i, row in enumerate(vectors)})
    found = {one.id: one for one in client.scroll("two", limit=1000, with_vectors=True)[0]}
    assert len(found) == 600
    for i, one in found.items():
        assert one.payload == {"n": i}
        assert np.array_equal(np.float32(one.vector["title"]), vectors[0])
        if i in (7, 9):
            assert "text" not in one.vector
        else:
            assert np.float32(one.vector["text"]).tobytes() == wanted[str(i)].tobytes()


def test_the_command_line_tells_in_one_line_and_exits_with_2(qdrant_server, qdrant_remote, artifact, spawn):
    qdrant_server.key = "right-key"
    process = spawn("apply", artifact, "--store", qdrant_remote.url)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    lines = told.decode().strip().splitlines()
    assert len(lines) == 1
    assert (
        "Qdrant refuses the key (401: Must provide an API key or an Authorization bearer token)" in lines[0]
    )
