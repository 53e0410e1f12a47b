"""``drift`` over every kind of store: rows that are not sound, and whose vectors they are."""

from __future__ import annotations

import numpy as np
import pytest
from unit_length import unit

from embedtune.artifact.tuned import Tuned
from embedtune.errors import StoreError
from embedtune.stores import Nulls, apply, drift, open_store
from embedtune.stores.stored import StoredEncoder

ROWS, WIDTH = 600, 16  # of the stores in conftest.py

ZERO, COPIES, LONG = (10, 11, 400), (100, 101, 102, 310, 555), (30, 31)

TEXTLESS = ("numpy_file", "faiss")
"""What keeps no texts: they are given by id."""

NORMALISING = ("qdrant",)
"""What brings vectors to unit length by itself."""


class Texts:
    """A base that reads ``text 7``: row 7 of some vectors."""

    name, fingerprint, max_tokens, content, similarity = "texts", "t", None, "text", "cosine"
    dimension = WIDTH

    def __init__(self, vectors):
        self.vectors = vectors

    def encode(self, items, *, kind="document"):
        return self.vectors[[int(text.split()[1]) for text in items]]

    def count_tokens(self, texts):
        return None


@pytest.fixture
def place(case):
    """Give a store's URL with its texts, and the data that has them where it has none."""
    rows = [{"query": f"ask {i}", "positive": f"text {i}", "document_id": str(i)} for i in range(ROWS)]
    url = f"{case.url}&text=body" if case.kind == "pgvector" else case.url
    return url, rows if case.kind in TEXTLESS else None


def told(found):
    return {one.code: one for one in found.findings}


def ids(finding):
    return set(map(int, finding.examples[0].text.removeprefix("ids ").split(", ")))


def test_rows_that_are_not_sound_are_counted_exactly(case, place, vectors, monkeypatch):
    rows = vectors.copy()
    rows[list(ZERO)], rows[list(COPIES)] = 0, rows[20]
    rows[list(LONG)] *= 1.5
    planted = [*ZERO, *COPIES, *LONG]
    case.put(planted, rows[planted])
    for module in ("drifting", "probing"):
        monkeypatch.setattr(f"embedtune.stores.{module}.PROBES", ROWS)
    url, data = place
    found = drift(Tuned(Texts(vectors)), url, data, batch=97)
    codes = told(found)
    wanted = {"zero-vectors": 3, "repeated-vectors": 5, "stale-vectors": 8, "not-unit-length": 2}
    if case.kind in NORMALISING:
        del wanted["not-unit-length"]
    assert {code: one.count for code, one in codes.items()} == wanted
    assert found.rows == ROWS
    assert ids(codes["zero-vectors"]) == set(ZERO)
    assert len(ids(codes["repeated-vectors"])) == 5
    assert ids(codes["repeated-vectors"]) < {20, *COPIES}
    assert ids(codes["stale-vectors"]) == {*ZERO, *COPIES}


def test_whose_vectors_they_are_is_told(case, place, tuned, vectors):
    url, data = place
    model = Tuned(Texts(vectors), tuned.transform)
    plain = drift(Tuned(model.encoder), url, data)
    assert plain.findings == []
    assert plain.notes[0].startswith("the stored vectors are those of the base")
    assert set(told(drift(model, url, data))) == {"not-mapped"}
    apply(model, url)
    after = drift(model, url, data)
    assert after.findings == []
    assert after.notes[0].startswith("the stored vectors are those of base + map")
    other = unit(np.random.default_rng(8).standard_normal(vectors.shape))
    case.put(list(range(ROWS)), other)
    found = told(drift(model, url, data))
    assert set(found) == {"other-vectors"}
    assert found["other-vectors"].severity == "error"


def test_a_model_of_another_dimension_is_told(case, place, vectors):
    wide = Texts(np.tile(vectors, 2))
    wide.dimension = 2 * WIDTH
    found = told(drift(Tuned(wide), *place))
    assert set(found) == {"other-dimension"}
    with pytest.raises(StoreError, match=r"has vectors of 16 dimensions, and the base 'texts' .* gives 32"):
        StoredEncoder.of(place[0], wide)


def test_documents_are_read_by_id(case, place, vectors):
    encoder = StoredEncoder.of(place[0], Texts(vectors))
    some = ["599", "0", "42"]
    np.testing.assert_allclose(encoder.encode(some), vectors[[599, 0, 42]], atol=2e-6)
    assert sorted(encoder.ids("document"), key=int) == [str(i) for i in range(ROWS)]


def test_rows_without_a_vector_are_told(lance, vectors):
    import lancedb

    folder = lance.url.removeprefix("lancedb://").partition("?")[0]
    table = lancedb.connect(folder).open_table("docs")
    table.update(where="id in (3, 50, 333)", values_sql={"vector": "null"})
    found = drift(Tuned(Texts(vectors)), lance.url)
    assert found.rows == ROWS - 3
    assert ids(told(found)["null-vectors"]) == {3, 50, 333}
    store = open_store(lance.url)
    assert store.nulls() == Nulls(3, (3, 50, 333))
