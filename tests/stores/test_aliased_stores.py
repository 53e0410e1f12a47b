"""Qdrant and Milvus: aliases, several vectors, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune import stores
from embedtune.errors import StoreError


@pytest.mark.parametrize("kind", ["qdrant", "milvus"])
def test_a_collection_is_refused_as_its_readers_could_not_be_moved(request, kind):
    case = request.getfixturevalue(kind)
    direct = (
        case.url.replace("#docs", "#docs_1") if kind == "milvus" else case.url.replace("/docs", "/docs_1")
    )
    with pytest.raises(StoreError, match="'docs_1' is a collection, and readers are switched by an alias"):
        stores.open_store(direct)
    with pytest.raises(StoreError, match="there is no alias 'docs_2'; choose from docs"):
        stores.open_store(direct.replace("docs_1", "docs_2"))


@pytest.mark.parametrize("kind", ["qdrant", "milvus"])
def test_texts_of_the_store_serve_as_probes(request, kind):
    case = request.getfixturevalue(kind)
    store = stores.open_store(case.url)
    assert store.texts([3, 7]) == {3: "text 3", 7: "text 7"}
    store.close()


def test_the_other_vectors_of_a_point_go_along(qdrant, tuned, mapped, vectors):
    from qdrant_client import models

    from embedtune.stores.qdrant import Qdrant

    client = stores.open_store(qdrant.url)._client
    params = models.VectorParams(size=16, distance=models.Distance.DOT)
    client.create_collection("two_1", vectors_config={"text": params, "title": params})
    alias = models.CreateAlias(collection_name="two_1", alias_name="two")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    points = [
        models.PointStruct(id=i, vector={"text": row.tolist(), "title": vectors[0].tolist()})
        for i, row in enumerate(vectors)
    ]
    client.upsert("two", points)
    with pytest.raises(StoreError, match=r"name one with \?vector=, of text, title"):
        stores.open_store("qdrant://localhost/two")
    stores.apply(tuned, "qdrant://localhost/two?vector=text")
    wanted = mapped({str(i): row for i, row in enumerate(vectors)})
    for point in client.scroll("two", limit=1000, with_vectors=True)[0]:
        assert np.array(point.vector["text"], np.float32).tobytes() == wanted[str(point.id)].tobytes()
        assert np.array(point.vector["title"], np.float32).tobytes() == vectors[0].tobytes()
    assert Qdrant.tolerance == 0


def test_a_server_that_is_not_there_is_told(tmp_path):
    pytest.importorskip("qdrant_client")
    with pytest.raises(StoreError, match="Qdrant cannot be reached"):
        stores.open_store("qdrant://127.0.0.1:1/docs")
    with pytest.raises(StoreError, match="there is no such folder"):
        stores.open_store(f"qdrant+file://{tmp_path}/none#docs")
    assert not (tmp_path / "none").exists()
    pytest.importorskip("pymilvus")
    with pytest.raises(StoreError, match="there is no such file"):
        stores.open_store("milvus:///nowhere/docs.db#docs")
    with pytest.raises(StoreError, match="names no alias"):
        stores.open_store("milvus:///nowhere/docs.db")


def test_a_local_folder_is_a_store_too(tmp_path, tuned, mapped, vectors):
    library = pytest.importorskip("qdrant_client")
    from qdrant_client import models

    client = library.QdrantClient(path=str(tmp_path / "folder"))
    dot = models.VectorParams(size=16, distance=models.Distance.DOT)
    client.create_collection("docs_1", vectors_config=dot)
    alias = models.CreateAlias(collection_name="docs_1", alias_name="docs")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    rows = vectors[:40]
    client.upsert("docs", [models.PointStruct(id=i, vector=x.tolist()) for i, x in enumerate(rows)])
    client.close()
    url = f"qdrant+file://{tmp_path}/folder#docs"
    assert stores.apply(tuned, url).status == "switched"
    wanted = mapped({str(i): row for i, row in enumerate(rows)})
    store = stores.open_store(url)
    found = store.fetch(list(range(40)))
    store.close()
    for name, row in zip(found.ids, found.vectors, strict=True):
        assert row.tobytes() == wanted[str(name)].tobytes()
    stores.rollback(url)
    assert stores.prune(url) != []
