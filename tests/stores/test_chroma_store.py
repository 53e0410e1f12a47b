"""What is special about Chroma: spaces, and two renames where others have one step."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from chromadb.errors import InternalError, NotFoundError
from typer.testing import CliRunner

from embedtune import stores
from embedtune.cli import app
from embedtune.errors import DiskFull, StoreError
from embedtune.stores import chroma as chroma_module
from embedtune.stores.chroma_pointer import follow


@pytest.fixture
def client(chroma_server, chroma):
    return chromadb.HttpClient(
        host="127.0.0.1", port=chroma_server, settings=Settings(anonymized_telemetry=False)
    )


def test_cosine_is_kept_as_the_space_and_its_settings_too(client, chroma, tuned, mapped, vectors):
    settings = {"hnsw": {"space": "cosine", "ef_construction": 123, "max_neighbors": 8}}
    client.create_collection(
        "angles", configuration=settings, metadata={"owner": "me"}, embedding_function=None
    )
    live = client.get_collection("angles", embedding_function=None)
    live.add(ids=[str(i) for i in range(600)], embeddings=vectors)
    stores.apply(tuned, chroma.url.replace("/docs", "/angles"))
    found = client.get_collection("angles", embedding_function=None)
    told = found.configuration_json["hnsw"]
    assert (told["space"], told["ef_construction"], told["max_neighbors"]) == ("cosine", 123, 8)
    assert found.metadata == {"owner": "me"}
    wanted = mapped({str(i): row for i, row in enumerate(vectors)})
    rows = found.get(include=["embeddings"])
    for name, row in zip(rows["ids"], rows["embeddings"], strict=True):
        np.testing.assert_allclose(row, wanted[name], atol=1e-6)


def test_a_kill_between_the_two_renames_is_mended_when_it_is_opened(
    client, chroma, tuned, mapped, monkeypatch
):
    monkeypatch.setattr(chroma_module, "GAP", 0.01)
    wanted = mapped(chroma.read())
    result = stores.apply(tuned, chroma.url)
    live = client.get_collection("docs", embedding_function=None)
    live.modify(name=f"docs__et_{result.version}")  # as it is between the renames
    stores.StoreURL.parse(chroma.url)
    store = stores.open_store(chroma.url)
    store.write_note({"begun": result.version})
    assert store.layout() == stores.Layout(False, (result.version,))
    again = stores.apply(tuned, chroma.url, resume=True)
    assert (again.status, again.written) == ("switched", 0)
    assert all(row.tobytes() == wanted[name].tobytes() for name, row in chroma.read().items())


@pytest.mark.filterwarnings("ignore:legacy embedding function:DeprecationWarning")
def test_documents_that_change_during_the_run_go_along(client, chroma, tuned, vectors):
    def meddle(stage, done, total):
        if stage == "index" and not done:
            live = client.get_collection("docs", embedding_function=None)
            live.update(ids=["5"], embeddings=vectors[5:6], documents=["another text"])

    stores.apply(tuned, chroma.url, progress=meddle)
    found = client.get_collection("docs", embedding_function=None).get(ids=["5"])
    assert found["documents"] == ["another text"]


def test_what_is_not_there_is_told(chroma, chroma_server):
    with pytest.raises(StoreError, match="there is no collection 'dogs'; choose from docs"):
        stores.open_store(chroma.url.replace("/docs", "/dogs"))
    with pytest.raises(StoreError, match="names no collection"):
        stores.open_store(f"chroma://127.0.0.1:{chroma_server}")
    with pytest.raises(StoreError, match=r"check the server and the URL|cannot be reached"):
        stores.open_store("chroma://127.0.0.1:1/docs")


def watch(read, old, new, work):
    """Read all the while that ``work`` runs; give which version was seen each time, and what failed."""
    seen, failed, over = [], [], threading.Event()

    def reads():
        while not over.is_set():
            try:
                rows = read()
                kinds = [
                    set(rows) == set(x) and all(np.array_equal(rows[i], x[i]) for i in x) for x in (old, new)
                ]
                seen.append(kinds.index(True) if any(kinds) else -1)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed read
                failed.append(error)

    reader = threading.Thread(target=reads)
    reader.start()
    try:
        work()
    finally:
        over.set()
        reader.join()
    return seen, failed


def test_a_pointer_is_switched_in_one_step_for_readers_that_follow(client, chroma_pointer, tuned, mapped):
    old = chroma_pointer.read()
    new = mapped(old)
    held = []

    def work():
        held.append(stores.apply(tuned, chroma_pointer.url))
        stores.rollback(chroma_pointer.url)
        stores.apply(tuned, chroma_pointer.url, resume=True)

    seen, failed = watch(chroma_pointer.read, old, new, work)
    assert not failed
    assert set(seen) <= {0, 1}  # never neither
    place = client.get_collection("docs", embedding_function=None)
    version = f"docs__et_{held[0].version}"
    assert place.metadata == {"embedtune_live": version, "embedtune_before": "docs"}
    rows = place.get(include=["embeddings"])  # who does not follow has the version from before
    found = dict(zip(rows["ids"], rows["embeddings"].astype(np.float32), strict=True))
    assert all(np.array_equal(found[i], old[i]) for i in old)
    with pytest.raises(
        StoreError, match=r"points to the collection that is live; write chroma\+pointer://127"
    ):
        stores.open_store(chroma_pointer.url.replace("+pointer", ""))


def test_pruning_empties_what_points_and_another_map_goes_on_top(client, chroma_pointer, tuned, mapped):
    old = chroma_pointer.read()
    first = stores.apply(tuned, chroma_pointer.url)
    assert stores.prune(chroma_pointer.url) == ["base"]
    assert client.get_collection("docs", embedding_function=None).count() == 0
    assert follow(client, "docs").name == f"docs__et_{first.version}"
    with pytest.raises(StoreError, match="no version to go back to"):
        stores.rollback(chroma_pointer.url)
    store = stores.open_store(chroma_pointer.url)
    assert store.read_note()["live"] == first.version  # the store itself knows, without notes
    store.close()
    assert stores.apply(tuned, chroma_pointer.url).written == 0
    new = mapped(old)
    assert all(np.array_equal(x, new[i]) for i, x in chroma_pointer.read().items())


def test_our_readers_wait_for_the_second_rename(client, chroma, tuned, mapped):
    old = chroma.read()
    new = mapped(old)
    store = stores.open_store(chroma.url)

    def read():
        found = {}
        for rows in store.scan(1000):
            found |= dict(zip(rows.ids, rows.vectors, strict=True))
        return found

    def work():
        result = stores.apply(tuned, chroma.url)
        for _ in range(3):
            stores.rollback(chroma.url)
            stores.apply(tuned, chroma.url, resume=True)
        assert "opens it by name just then" in result.text()

    seen, failed = watch(read, old, new, work)
    assert not failed
    assert set(seen) == {0, 1}


def test_a_reader_that_opens_in_the_gap_waits_and_changes_nothing(client, chroma, monkeypatch):
    live = client.get_collection("docs", embedding_function=None)
    other = client.create_collection("docs__et_v1", embedding_function=None)
    other.add(ids=["1"], embeddings=np.ones((1, 16), np.float32))
    live.modify(name="docs__et_base")
    asked, sleep = [], chroma_module.time.sleep

    def renamed(seconds):
        if not asked:
            other.modify(name="docs")
        asked.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(chroma_module.time, "sleep", renamed)
    store = stores.open_store(chroma.url)
    assert asked
    assert (store.count(), store.count(stores.BASE)) == (1, 600)


def test_a_rename_between_the_two_questions_of_a_reader_is_no_missing_collection(
    client, chroma, tuned, mapped, monkeypatch
):
    stores.apply(tuned, chroma.url)
    store = stores.open_store(chroma.url)
    ask, asked = store._client.get_collection, []

    def in_the_gap(name, **how):
        asked.append(name)
        if asked == ["docs"]:
            stores.rollback(chroma.url)
            raise NotFoundError("Collection [docs] does not exist")  # between the renames, as it was asked
        return ask(name, **how)

    monkeypatch.setattr(store._client, "get_collection", in_the_gap)
    assert store.count() == 600
    assert asked == ["docs", "docs__et_base", "docs"]


class Refusing(BaseHTTPRequestHandler):
    """Answers all with one status and body, as Chroma's server words its errors."""

    status, body = 401, {"error": "AuthError", "message": "Unauthorized"}

    def do_GET(self):
        content = json.dumps(self.body).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": "AuthError", "message": "Unauthorized"}, "refuses the token (Unauthorized)"),
        (403, {"error": "ChromaError", "message": "Forbidden."}, "refuses the token (Forbidden.)"),
    ],
)
def test_a_token_that_is_refused_is_told_and_not_shown(monkeypatch, status, body, said):
    monkeypatch.setenv("CHROMA_TOKEN", "the-token")
    monkeypatch.setattr(Refusing, "status", status)
    monkeypatch.setattr(Refusing, "body", body)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with pytest.raises(StoreError) as caught:
        stores.open_store(f"chroma://127.0.0.1:{server.server_port}/docs")
    server.shutdown()
    server.server_close()
    assert f"Chroma {said}; set CHROMA_TOKEN" in str(caught.value)
    assert "the-token" not in str(caught.value)


def test_a_full_disk_is_told_and_what_was_begun_is_taken_away(chroma, client, tuned, monkeypatch):
    old, upsert, calls = chroma.read(), chromadb.Collection.upsert, []

    def full(self, *given, **named):
        calls.append(self.name)
        if len(calls) == 3:
            raise InternalError(
                "Database error: error returned from database: (code: 13) database or disk is full"
            )
        upsert(self, *given, **named)

    monkeypatch.setattr(chromadb.Collection, "upsert", full)
    with pytest.raises(DiskFull, match="no room left on the server's disk"):
        stores.apply(tuned, chroma.url, batch=100)
    assert [one.name for one in client.list_collections()] == ["docs"]
    assert all(np.array_equal(row, old[name]) for name, row in chroma.read().items())


def test_readers_who_open_the_collection_by_name_are_told_of_the_two_renames(chroma, artifact):
    run = CliRunner().invoke
    shown = run(app, ["apply", str(artifact), "--store", chroma.url, "--no-probe"])
    assert shown.exit_code == 0, shown.output
    assert "two renames: for some milliseconds there is no collection of the name" in shown.output
    assert "chroma+pointer:// switches in one step" in shown.output
    back = run(app, ["apply", "--store", chroma.url, "--rollback"])
    assert back.exit_code == 0, back.output


def test_readers_of_a_pointer_are_told_how_they_are_switched(chroma_pointer, artifact):
    shown = CliRunner().invoke(
        app, ["apply", str(artifact), "--store", chroma_pointer.url, "--no-probe", "--dry-run"]
    )
    assert shown.exit_code == 0, shown.output
    assert "readers that follow the pointer are switched" in shown.output
    assert "two renames" not in shown.output
