"""Tuning where the documents' vectors lie in a store: nothing but queries is encoded."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from embedtune import fine_tune, stores
from embedtune.artifact.tuned import Tuned
from embedtune.cache_place import cache_folder
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import DataError, DiskFull, StoreError, UserError
from embedtune.stores import stored
from embedtune.stores.stored import StoredEncoder
from embedtune.transforms import Linear

TEXTS = [f"answer {i}" for i in range(600)]


class Base:
    """A model of texts that knows each text's vector, and counts what it is asked for."""

    name, dimension, similarity, fingerprint = "toy", 16, "cosine", "f" * 64
    max_tokens, content = None, "text"

    def __init__(self, queries, documents):
        self.known = {"query": queries, "document": documents}
        self.asked = {"query": 0, "document": 0}

    def encode(self, items, *, kind="document"):
        self.asked[kind] += len(items)
        return np.stack([self.known[kind][text] for text in items]).astype(np.float32)

    def count_tokens(self, texts):
        return None


@pytest.fixture
def base(vectors):
    """Give a base whose queries are their documents, turned: a linear map mends it."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0]
    queries = {f"question {i}": vectors[i] @ turn for i in range(600)}
    queries["question 0"] = vectors[0] @ turn
    return Base(queries, {text: vectors[i] for i, text in enumerate(TEXTS)} | {
        f"text {i}": vectors[i] for i in range(600)
    })  # fmt: skip


@pytest.fixture
def data(tmp_path):
    rows = [
        {"query": f"question {i}", "document_id": str(i), "positive": TEXTS[i],
         "split": "test" if i % 4 == 0 else "train"}
        for i in range(0, 600, 2)
    ]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_documents_are_read_from_the_store_and_only_probes_are_encoded(parquet, base, data):
    tuned = fine_tune(base_model=base, data=data, from_store=parquet.url, method="linear")
    assert base.asked["document"] <= 24  # the probes
    assert tuned.encoder is base
    assert tuned.verdict.base.n == 150
    assert tuned.verdict.decision == "tune"
    assert tuned.verdict.tuned.overall > tuned.verdict.base.overall + 0.3
    arrays = {
        "documents": ([str(i) for i in range(600)], np.stack([base.known["document"][t] for t in TEXTS]))
    }
    ids = [f"question {i}" for i in range(0, 600, 2)]
    arrays["queries"] = ids, np.stack([base.known["query"][i] for i in ids]).astype(np.float32)
    same = fine_tune(base_model=VectorsEncoder.from_arrays(arrays), data=data, method="linear")
    assert same.verdict.tuned.overall == pytest.approx(tuned.verdict.tuned.overall, abs=1e-6)


@pytest.mark.parametrize("kind", ["pgvector", "lance"])
def test_other_stores_give_the_same_vectors_mapped_from_a_file(request, kind, base, vectors):
    case = request.getfixturevalue(kind)
    encoder = StoredEncoder.of(case.url, base, None)
    ids = encoder.ids("document")
    assert sorted(ids, key=int) == [str(i) for i in range(600)]
    found = encoder.encode(ids, kind="document")
    assert isinstance(found, np.memmap)
    assert found.tobytes() == vectors[[int(i) for i in ids]].tobytes()
    assert encoder.encode(["7", "3"], kind="document").tobytes() == vectors[[7, 3]].tobytes()
    with pytest.raises(DataError, match="1 of 2 documents are not in the store, the first is '600'"):
        encoder.encode(["1", "600"], kind="document")


def test_vectors_of_another_base_are_refused(parquet, base, data, vectors):
    base.known["document"] = {text: -vectors[i] for i, text in enumerate(TEXTS)} | {
        f"text {i}": -vectors[i] for i in range(600)
    }
    with pytest.raises(StoreError, match=r"not those of the base 'toy'.* is -1\.00"):
        fine_tune(base_model=base, data=data, from_store=parquet.url)


def test_labelled_queries_are_judged_inside_the_store(pgvector, base, data):
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0].astype(np.float32)
    result = stores.apply(Tuned(base, Linear(document=turn.T)), pgvector.url, data=data)
    metric = result.verified.metric
    assert metric["queries"] == 150  # the test split
    assert metric["base"] < 0.1
    assert metric["offline"] == metric["store"] == 1
    assert "nDCG@10 of 150 labelled queries inside the store" in result.text()


def turned(base):
    """Give the map that mends the queries, as one of documents."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0].astype(np.float32)
    return Tuned(base, Linear(document=turn.T))


def hasty(monkeypatch, url, enough):
    """Let a store rank the best document of ten queries second, unless it looks at so many candidates."""
    store = stores.open_store(url)
    kind = type(store)
    own = kind.search
    store.close()

    def search(self, queries, k, similarity, version="", effort=None):
        found = own(self, queries, k, similarity, version, effort)
        wrong = 10 if (effort or 0) < enough else 0
        return [[row[1], row[0], *row[2:]] if i < wrong else row for i, row in enumerate(found)]

    monkeypatch.setattr(kind, "search", search)


def test_a_wider_search_is_tried_where_the_metric_inside_is_less(parquet, base, data, monkeypatch):
    hasty(monkeypatch, parquet.url, 160)
    result = stores.apply(turned(base), parquet.url, data=data)
    assert result.verified.effort == 160
    assert result.verified.recall == 1  # the ten best were found all along
    metric = result.verified.metric
    assert (metric["store"], metric["difference_low"], metric["difference_high"]) == (1, 0, 0)
    assert "+0.0000 (95 % interval +0.0000 to +0.0000), is within noise" in result.text()
    assert result.to_dict()["verified"]["metric"]["difference"] == 0


def test_a_store_that_stays_below_the_exact_search_is_not_switched_to(parquet, base, data, monkeypatch):
    old = parquet.read()
    hasty(monkeypatch, parquet.url, 10_000)
    with pytest.raises(StoreError, match=r"is 0\.9754, and 1\.0000 .* difference of -0\.0246 "):
        stores.apply(turned(base), parquet.url, data=data)
    assert {k: v.tobytes() for k, v in parquet.read().items()} == {k: v.tobytes() for k, v in old.items()}


def test_a_map_that_makes_the_store_find_less_is_not_switched_to(pgvector, base, data, vectors):
    base.known["query"] = {f"question {i}": vectors[i] for i in range(600)}
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0].astype(np.float32)
    old = pgvector.read()
    with pytest.raises(StoreError, match=r"would fall from 1\.0000 to 0\.0"):
        stores.apply(Tuned(base, Linear(document=turn)), pgvector.url, data=data)
    assert {k: v.tobytes() for k, v in pgvector.read().items()} == {k: v.tobytes() for k, v in old.items()}


def test_a_disk_without_room_for_the_copy_is_one_line_and_leaves_nothing(parquet, base, monkeypatch):
    class Full(type(Path("x"))):
        def open(self, *args, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

    folder = cache_folder() / "stores"
    before = sorted(folder.glob("*")) if folder.exists() else []
    monkeypatch.setattr(stored, "cache_folder", lambda: Full(folder.parent))
    with pytest.raises(DiskFull, match="no room left on the disk for 600 vectors"):
        StoredEncoder.of(parquet.url, base, None)
    assert sorted(folder.glob("*")) == before


def test_a_limit_on_memory_gives_the_same_map(parquet, base, data):
    free = fine_tune(base_model=base, data=data, from_store=parquet.url, method="linear")
    bound = fine_tune(base_model=base, data=data, from_store=parquet.url, method="linear", memory="4GB")
    assert bound.transform.query.tobytes() == free.transform.query.tobytes()
    with pytest.raises(UserError, match=r"are allowed; allow more$"):
        fine_tune(base_model=base, data=data, from_store=parquet.url, method="linear", memory="20MB")
