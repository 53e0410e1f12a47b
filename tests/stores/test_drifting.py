"""What ``drift`` finds: rows that are not sound, vectors of another model, queries that have moved."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit_length import unit

from embedtune.artifact.reference import Reference
from embedtune.artifact.tuned import Tuned, load
from embedtune.data import read
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import ArtifactError, DataError
from embedtune.stores import CallableStore, apply, drift
from embedtune.stores import counting as counting_module
from embedtune.stores.counting import count_rows
from embedtune.stores.queries import read_given
from embedtune.transforms import Linear

ROWS, WIDTH = 600, 16  # of the stores in conftest.py


class Texts:
    """A base that reads ``text 7``: row 7 of some vectors; queries are drawn anew, around ``shift``."""

    name, fingerprint, max_tokens, content, similarity, dimension = (
        "texts",
        "t",
        None,
        "text",
        "cosine",
        WIDTH,
    )

    def __init__(self, vectors):
        self.vectors, self.asked = vectors, 0

    def encode(self, items, *, kind="document"):
        self.asked += len(items)
        rows = [int(text.split()[1]) for text in items]
        if kind == "query":
            shift = np.array([9.0 * text.startswith("moved") for text in items])[:, None] * np.eye(WIDTH)[0]
            noise = [np.random.default_rng(row).standard_normal(WIDTH) for row in rows]
            return unit(np.array(noise).reshape(-1, WIDTH) + shift)
        return self.vectors[rows]

    def count_tokens(self, texts):
        return None


@pytest.fixture
def model(vectors, tuned):
    base = Texts(vectors)
    reference = base.encode([f"asked {10_000 + i}" for i in range(200)], kind="query")
    return Tuned(base, tuned.transform, reference=Reference(reference.astype(np.float16), "query"))


def codes(found):
    return {one.code: one for one in found.findings}


def planted(vectors):
    """Give vectors with 4 nulls, 3 zeros, 5 repeated rows and 2 that are too long, and where they are."""
    x = [row.copy() for row in vectors]
    for i in (3, 50, 333, 599):
        x[i] = None
    for i in (10, 11, 400):
        x[i] = np.zeros(WIDTH, np.float32)
    for i in (100, 101, 102, 310, 555):
        x[i] = x[20].copy()
    for i in (30, 31):
        x[i] = 1.5 * x[i]
    return x


def check_planted(found, name):
    told = codes(found)
    assert found.rows == ROWS - 4
    assert {code: one.count for code, one in told.items() if code != "not-mapped"} == {
        "zero-vectors": 3,
        "null-vectors": 4,
        "repeated-vectors": 5,
        "not-unit-length": 2,
        "stale-vectors": told["stale-vectors"].count,
    }
    ids = {code: one.examples[0].text for code, one in told.items() if one.examples}
    assert ids["zero-vectors"] == f"ids {name(10)}, {name(11)}, {name(400)}"
    assert ids["null-vectors"] == f"ids {name(3)}, {name(50)}, {name(333)}, {name(599)}"
    assert ids["repeated-vectors"] == "ids " + ", ".join(name(i) for i in (100, 101, 102, 310, 555))
    assert ids["not-unit-length"] == f"ids {name(30)}, {name(31)}"
    assert [one.severity for one in found.findings] == sorted(
        (one.severity for one in found.findings), key=["error", "warning", "info"].index
    )


def test_what_is_planted_in_parquet_is_counted_exactly(vectors, tmp_path, monkeypatch):
    column = pa.array([None if x is None else x.tolist() for x in planted(vectors)], pa.list_(pa.float32()))
    ids = [f"d{i}" for i in range(ROWS)]
    texts = [f"text {i}" for i in range(ROWS)]
    pq.write_table(pa.table({"id": ids, "vector": column, "body": texts}), tmp_path / "rows.parquet")
    monkeypatch.setattr("embedtune.stores.drifting.PROBES", ROWS)
    found = drift(Tuned(Texts(vectors)), f"parquet://{tmp_path}/rows.parquet?text=body", batch=64)
    check_planted(found, lambda i: f"d{i}")
    # the planted ones that have other bytes than their text: 3 zeros, 5 copies; scaled rows are alike
    assert codes(found)["stale-vectors"].count == 8
    again = drift(Tuned(Texts(vectors)), f"parquet://{tmp_path}/rows.parquet", batch=ROWS)
    assert {code: one.count for code, one in codes(again).items()} == {
        code: one.count for code, one in codes(found).items() if code != "stale-vectors"
    }
    assert any("was not looked at" in note for note in again.notes)


def test_what_is_planted_in_postgres_is_counted_exactly(pgvector, vectors, postgres, monkeypatch):
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        for i, row in enumerate(planted(vectors)):
            value = None if row is None else json.dumps(row.tolist())
            connection.execute("update docs set embedding = %s where id = %s", [value, i])
    monkeypatch.setattr("embedtune.stores.drifting.PROBES", ROWS)
    found = drift(Tuned(Texts(vectors)), f"{pgvector.url}&text=body", batch=100)
    for one in found.findings:  # a table has no order of its own
        first = sorted(map(int, one.examples[0].text.removeprefix("ids ").split(", ")))
        object.__setattr__(one.examples[0], "text", "ids " + ", ".join(map(str, first)))
    repeated = codes(found)["repeated-vectors"].examples[0]
    assert repeated.text in {
        "ids " + ", ".join(str(i) for i in sorted({20, 100, 101, 102, 310, 555} - {first}))
        for first in (20, 100, 101, 102, 310, 555)
    }
    object.__setattr__(repeated, "text", "ids 100, 101, 102, 310, 555")
    check_planted(found, str)


def test_hashes_of_many_batches_are_remembered(vectors):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 4)).astype(np.float32)[rng.integers(0, 500, 3000)]
    batches = [(list(range(i, i + 70)), rows[i : i + 70]) for i in range(0, 3000 - 69, 70)]
    store = CallableStore(scan=lambda: iter(batches), write=lambda ids, x: None)
    seen = np.concatenate([x for _, x in batches])
    assert count_rows(store, batch=70, seed=0).repeated.count == len(seen) - len(np.unique(seen, axis=0))
    assert counting_module.FIRST == 10


def test_whose_vectors_they_are(model, parquet, vectors):
    url = parquet.url
    plain = drift(Tuned(model.encoder), url)
    assert plain.findings == []
    assert plain.notes[0].startswith("the stored vectors are those of the base; median cosine of 24 rows")
    before = drift(model, url)
    assert [(one.code, one.severity) for one in before.findings] == [("not-mapped", "warning")]
    apply(model, url)
    after = drift(model, url)
    assert after.findings == []
    assert after.notes[0].startswith("the stored vectors are those of base + map")
    other = Tuned(model.encoder, Linear.shared(np.diag(np.linspace(-1, 3, WIDTH)).astype(np.float32)))
    told = codes(drift(other, url))
    assert set(told) == {"another-version", "other-vectors"}
    assert all(one.severity == "error" for one in told.values())
    assert "neither from the base nor from base + map" in told["other-vectors"].message
    parquet.put(list(range(ROWS)), vectors)  # somebody has filled it with the base's again
    assert [(one.code, one.severity) for one in drift(model, url).findings] == [("not-mapped", "error")]


def test_another_models_vectors_and_other_dimensions_are_told(vectors, parquet):
    other = Texts(unit(np.random.default_rng(9).standard_normal((ROWS, WIDTH))))
    assert codes(drift(Tuned(other), parquet.url))["other-vectors"].severity == "error"
    wide = Texts(np.tile(vectors, 2))
    wide.dimension = 2 * WIDTH
    found = codes(drift(Tuned(wide), parquet.url))
    assert set(found) == {"other-dimension"}
    assert "have 16 dimensions, and this model gives 32" in found["other-dimension"].message


def test_a_few_rows_of_another_model_are_told(vectors, parquet, monkeypatch):
    monkeypatch.setattr("embedtune.stores.drifting.PROBES", ROWS)
    rows = [400, 500, 599]
    parquet.put(rows, unit(np.random.default_rng(5).standard_normal((3, WIDTH))))
    found = codes(drift(Tuned(Texts(vectors)), parquet.url))
    assert set(found) == {"stale-vectors"}
    assert found["stale-vectors"].examples[0].text == "ids 400, 500, 599"


def test_texts_come_from_data_by_id(model, numpy_file):
    rows = [{"query": f"asked {i}", "positive": f"text {i}", "document_id": str(i)} for i in range(ROWS)]
    found = drift(Tuned(model.encoder), numpy_file.url, rows)
    assert found.findings == []
    assert found.notes[0].startswith("the stored vectors are those of the base")
    assert "cannot be told: this model was saved without a reference" in found.notes[1]


def test_queries_that_moved_are_found_and_others_are_not(model, parquet):
    apply(model, parquet.url)
    same = [f"asked {i}" for i in range(300)]
    found = drift(model, parquet.url, same)
    assert found.findings == []
    assert "new queries are like those tuned on: p = " in found.notes[-1]
    for moved in ([f"moved {i}" for i in range(300)], same[:210] + [f"moved {i}" for i in range(90)]):
        found = drift(model, parquet.url, [{"query": one} for one in moved])
        assert [(one.code, one.severity) for one in found.findings] == [("moved-queries", "warning")]
        assert found.findings[0].examples[0].text == moved[found.findings[0].examples[0].line - 1]
    assert "takes 20 of each" in drift(model, parquet.url, same[:19]).notes[-1]


def test_the_same_distribution_is_seldom_a_finding(model, vectors):
    store = CallableStore(scan=lambda: [(["0"], vectors[:1])], write=lambda ids, x: None)
    plain = Tuned(model.encoder, reference=model.reference)
    told = sum(
        "moved-queries"
        in codes(drift(plain, store, [f"asked {1000 * seed + i}" for i in range(100)], seed=seed))
        for seed in range(10, 50)
    )
    assert told <= 2


def test_a_log_of_queries_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"query": f"q {i}", "at": i}) + "\n" for i in range(3)))
    assert read_given(path).items("query", "text") == ["q 0", "q 1", "q 2"]
    rows = [{"query": "door", "positive": "floors"}]
    assert read_given(rows).items("document", "text") == ["floors"]
    path.write_text('{"asked": "what"}\n')
    with pytest.raises(DataError, match="no column"):
        read_given(path)


def test_the_reference_is_saved_with_the_model_and_checked(vectors, tmp_path):
    ids = [str(i) for i in range(ROWS)]
    encoder = VectorsEncoder.from_arrays({"documents": (ids, vectors)})
    reference = Reference(vectors[:50].astype(np.float16), "document")
    folder = Tuned(encoder, reference=reference).save(tmp_path / "a")
    again = Tuned(encoder, reference=reference).save(tmp_path / "b")
    names = sorted(one.relative_to(folder) for one in folder.rglob("*") if one.is_file())
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in names)
    found = load(folder, base=encoder).reference
    assert found.kind == "document"
    assert found.vectors.tobytes() == reference.vectors.tobytes()
    assert "base's vectors (not texts) of 50" in (folder / "README.md").read_text()
    path = folder / "reference.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"reference\.safetensors"):
        load(folder, base=encoder)
    assert load(Tuned(encoder).save(tmp_path / "c"), base=encoder).reference is None


def test_a_reference_is_drawn_from_what_trains():
    from embedtune import fine_tune

    rng = np.random.default_rng(0)
    x = unit(rng.standard_normal((400, 8)))
    names = [f"d{i}" for i in range(400)]
    rows = [
        {"query": f"ask {i}", "query_id": f"q{i}", "positive": f"page {i}", "document_id": names[i]}
        | {"split": "test" if i % 4 == 0 else "train"}
        for i in range(400)
    ]
    base = {"queries": ([f"q{i}" for i in range(400)], x), "documents": (names, -x)}
    tuned = fine_tune(base_model=base, data=read(rows), method="ridge")
    assert tuned.reference.kind == "query"
    assert tuned.reference.vectors.shape == (256, 8)
    kept = {row.tobytes() for row in tuned.reference.vectors}
    train = {x[i].astype(np.float16).tobytes() for i in range(400) if i % 4}
    assert kept <= train


def test_rows_of_another_dimension_are_counted(model, tmp_path, postgres):
    import psycopg

    rows = [[1.0] * (WIDTH + (i in (40, 90, 91))) if i != 5 else None for i in range(100)]
    table = pa.table({"id": [f"d{i}" for i in range(100)], "vector": pa.array(rows, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=30)
    found = drift(model, f"parquet://{tmp_path}/rows.parquet")
    assert [(one.code, one.severity, one.count) for one in found.findings] == [
        ("mixed-dimensions", "error", 3)
    ]
    assert found.findings[0].message.endswith("other 96 with 16; the first is 'd40' with 17")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("drop table if exists mixed")
        connection.execute("create table mixed (id int primary key, embedding vector)")
        values = [(i, None if row is None else json.dumps(row)) for i, row in enumerate(rows)]
        connection.cursor().executemany("insert into mixed values (%s, %s)", values)
        found = drift(model, f"{postgres}&table=mixed&column=embedding")
        connection.execute("drop table mixed")
    assert (found.rows, found.findings[0].count) == (99, 3)
    assert found.findings[0].examples[0].text == "ids 40"
