"""What is special about Chroma: spaces, and two renames where others have one step."""

from __future__ import annotations

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from embedtune import stores
from embedtune.errors import StoreError


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


def test_a_kill_between_the_two_renames_is_mended_when_it_is_opened(client, chroma, tuned, mapped):
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
