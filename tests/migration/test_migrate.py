"""A migration from end to end: what it reports, saves, loads, advises and refuses."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner
from unit_length import unit

from embedtune import stores
from embedtune.cli.app import app
from embedtune.data import read
from embedtune.encoders.api.encoder import Estimate
from embedtune.encoders.api.prices import Price
from embedtune.encoders.vectors import write_vectors
from embedtune.errors import ArtifactError, DataError, OutputExists, StoreError, UserError
from embedtune.migration import is_bridge, load_bridge, migrate, save_bridge
from embedtune.migration.traffic import read_traffic

N, D = 400, 12
IDS = [f"d{i}" for i in range(N)]


class Model:
    """Vectors by text; ``turn`` says how they lie."""

    max_tokens, content, similarity = None, "text", "cosine"

    def __init__(self, name, turn, noise=0.0):
        self.name, self.fingerprint, self.turn, self.noise = name, name, turn, noise
        self.dimension = len(turn)
        self.asked = 0

    def encode(self, items, *, kind="document"):
        self.asked += len(items)
        rows = [int(text.split()[1]) for text in items]
        base = unit(np.random.default_rng(0).standard_normal((N, D)))[rows]
        if kind == "query":
            base = base + 0.1 * np.random.default_rng(len(rows)).standard_normal(base.shape)
        blur = self.noise * np.random.default_rng(9).standard_normal((N, self.dimension))[rows]
        return unit(base @ self.turn.T + blur)

    def count_tokens(self, texts):
        return None


OLD = Model("old", np.eye(D))
NEW = Model("new", np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0])
OTHER = Model("other", np.random.default_rng(4).standard_normal((D, D)), noise=8.0)


@pytest.fixture
def data():
    rows = [{"query": f"question {i}", "positive": f"page {i}", "document_id": IDS[i]} for i in range(N)]
    return read(rows)


def test_between_models_that_say_the_same_a_bridge_is_enough(data, tmp_path):
    found = migrate(old=OLD, new=NEW, data=data, sample=200)
    assert found.advised.advice == "bridge"
    assert found.kept is not None
    assert found.kept.share > 0.97
    assert found.neighbours.share > 0.97
    assert found.sampled == 200
    report = found.to_dict()
    assert json.loads(json.dumps(report)) == report
    assert report["bridged"] == pytest.approx(report["today"], abs=0.03)
    folder = save_bridge(found, tmp_path / "bridge")
    assert is_bridge(folder)
    loaded = load_bridge(folder)
    stored = OLD.encode([f"page {i}" for i in range(N)])
    new = NEW.encode([f"page {i}" for i in range(N)])
    assert np.einsum("ij,ij->i", loaded.documents(stored), new).min() > 0.95
    assert loaded.order().num_rows == N - 200
    with pytest.raises(OutputExists):
        save_bridge(found, folder)


def test_two_runs_save_the_same_bytes(data, tmp_path):
    for name in ("a", "b"):
        save_bridge(migrate(old=OLD, new=NEW, data=data, sample=200), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["README.md", "bridge.safetensors", "manifest.json", "order.parquet"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_between_models_that_have_little_in_common_it_advises_to_re_embed(data):
    found = migrate(old=OLD, new=OTHER, data=data, sample=200)
    assert found.advised.advice == "re-embed"
    assert any("worse than today" in reason for reason in found.advised.reasons)
    assert any("no haste" in reason for reason in found.advised.reasons)


def test_without_queries_neighbours_decide():
    rows = [{"text": f"page {i}", "label": "x" if i % 2 else "y", "id": IDS[i]} for i in range(N)]
    found = migrate(old=OLD, new=NEW, data=read(rows), sample=200)
    assert found.quality is None
    assert found.advised.advice == "bridge"
    assert "no labelled queries" in found.advised.reasons[0]


def test_traffic_decides_what_is_re_embedded_first(data):
    found = migrate(old=OLD, new=OTHER, data=data, sample=200, traffic={"d7": 50.0, "d8": 2.0})
    outside = [name for name in ("d7", "d8") if IDS.index(name) in set(found.order.tolist())]
    assert [IDS[row] for row in found.order[: len(outside)]] == outside
    assert not np.isin(found.order[:3], np.random.default_rng(0).permutation(N)[:200]).any()


def test_what_it_refuses(data):
    with pytest.raises(UserError, match="the same"):
        migrate(old=OLD, new=OLD, data=data)
    with pytest.raises(UserError, match="too few"):
        migrate(old=OLD, new=NEW, data=[{"query": "question 1", "positive": "page 1"}])


def test_damaged_and_foreign_folders(data, tmp_path):
    folder = save_bridge(migrate(old=OLD, new=NEW, data=data, sample=200), tmp_path / "bridge")
    weights = folder / "bridge.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(ArtifactError, match=r"bridge\.safetensors"):
        load_bridge(folder)
    weights.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_bridge(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="not JSON"):
        load_bridge(folder)
    (folder / "manifest.json").write_text('{"format": "embedtune"}')
    with pytest.raises(ArtifactError, match="not a bridge"):
        load_bridge(folder)
    with pytest.raises(ArtifactError, match="not a bridge"):
        load_bridge(tmp_path)


def test_traffic_from_a_file(tmp_path):
    path = tmp_path / "hits.csv"
    path.write_text("id,count\na,3\nb,1\na,2\n")
    assert read_traffic(path) == {"a": 5, "b": 1}
    path.write_text("id,count\na,x\n")
    with pytest.raises(DataError, match=r"hits.csv:2, column 'count'"):
        read_traffic(path)
    path.write_text("id,count\na,-1\n")
    with pytest.raises(DataError, match="from 0 up"):
        read_traffic(path)
    path.write_text("id,hits\na,1\n")
    with pytest.raises(DataError, match="no 'count'"):
        read_traffic(path)
    with pytest.raises(DataError, match="no such file"):
        read_traffic(tmp_path / "none.csv")


def test_the_command(tmp_path):
    words = ["boat", "tax", "violin", "storm", "oven", "goal", "lens", "vote", "seed", "code"]
    texts = [f"{a} {b} {c}" for a in words for b in words for c in words[:2] if a != b]
    ids = [f"t{i}" for i in range(len(texts))]
    lines = [
        f'{{"id": "{name}", "text": "{text}", "label": "x"}}' for name, text in zip(ids, texts, strict=True)
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    (tmp_path / "hits.csv").write_text("id,count\nt3,9\n")
    (tmp_path / "stored").mkdir()
    write_vectors(
        tmp_path / "stored",
        "document",
        ids,
        unit(np.random.default_rng(0).standard_normal((len(ids), 5))),
    )
    out = tmp_path / "bridge"
    arguments = ["migrate", str(tmp_path / "items.jsonl"), "--old", f"vectors:{tmp_path / 'stored'}"]
    arguments += ["--new", "wordllama-256", "--out", str(out), "--sample", "60", "--json", "-"]
    arguments += ["--traffic", str(tmp_path / "hits.csv")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["advice"] == "re-embed"
    assert "advice: re-embed" in done.stderr
    assert load_bridge(out).documents(np.ones((1, 5), np.float32)).shape == (1, 256)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists" in again.stderr


BLURRED = Model("blurred", NEW.turn, noise=0.5)


def ndcg(documents):
    """Give nDCG@10 of the new model's queries over documents in its space, by hand: one positive each."""
    queries = BLURRED.encode([f"question {i}" for i in range(N)], kind="query")
    positive = np.sum(queries * documents, axis=1)
    rank = np.sum(queries @ documents.T > positive[:, None], axis=1)
    return float(np.mean(np.where(rank < 10, 1 / np.log2(rank + 2), 0)))


def test_mapped_and_re_embedded_documents_are_served_together(data, tmp_path):
    found = migrate(old=OLD, new=BLURRED, data=data, sample=100)
    bridge = load_bridge(save_bridge(found, tmp_path / "bridge"))
    mixed = bridge.documents(OLD.encode([f"page {i}" for i in range(N)]))
    full = BLURRED.encode([f"page {i}" for i in range(N)])
    order = bridge.order()
    places = sorted(zip(order["place"].to_pylist(), order["id"].to_pylist(), strict=True))
    served = [ndcg(mixed)]
    for start in range(0, len(places), 100):  # as the order says, a hundred at a time
        rows = [IDS.index(name) for _, name in places[start : start + 100]]
        mixed[rows] = full[rows]
        served.append(ndcg(mixed))
    assert len(places) == N - 100  # those of the sample are the new model's already
    assert min(served) >= min(served[0], ndcg(full)) - 0.02  # never worse than either
    assert served[-1] > served[0]


@pytest.fixture
def table(tmp_path):
    """Give a Parquet file of the old model's vectors."""
    old = OLD.encode([f"page {i}" for i in range(N)])
    column = pa.array(old.tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": IDS, "vector": column}), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_stored_vectors_are_read_where_they_lie(data, table, tmp_path):
    found = migrate(old=f"parquet://{table}", new=NEW, data=data, sample=200)
    write_vectors(tmp_path / "folder", "document", IDS, OLD.encode([f"page {i}" for i in range(N)]))
    same = migrate(old=f"vectors:{tmp_path / 'folder'}", new=NEW, data=data, sample=200)
    assert found.bridge.matrix.tobytes() == same.bridge.matrix.tobytes()
    assert found.old["name"] == f"parquet://{table}"
    bridge = save_bridge(found, tmp_path / "bridge")
    before = table.read_bytes()
    done = stores.apply(bridge, f"parquet://{table}", probe=False)
    assert done.status == "switched"
    mapped = np.array(pq.read_table(table)["vector"].to_pylist(), np.float32)
    assert np.einsum("ij,ij->i", mapped, NEW.encode([f"page {i}" for i in range(N)])).min() > 0.95
    stores.rollback(f"parquet://{table}")
    assert table.read_bytes() == before


def test_what_each_way_costs_where_the_new_model_has_a_price(data):
    new = Model("priced", NEW.turn)
    new.cost = lambda items, kind="document": Estimate(len(items), 4000, 8.0, Price(2000.0, "EUR"))
    cost = migrate(old=OLD, new=new, data=data, sample=100).to_dict()["cost"]
    encoded = new.asked - N  # the queries are no documents
    assert cost == {
        "bridge": pytest.approx(8.0 * encoded / N),
        "re_embed": 8.0,
        "currency": "EUR",
        "price": "2000 EUR a million tokens",
    }
    assert migrate(old=OLD, new=NEW, data=data, sample=100).to_dict()["cost"] is None


def test_a_bridge_made_for_other_vectors_is_refused(data, table, tmp_path):
    bridge = save_bridge(migrate(old=OLD, new=NEW, data=data, sample=200), tmp_path / "bridge")
    with pytest.raises(StoreError, match=r"the old model 'old' of the bridge was not found .*--no-probe"):
        stores.apply(bridge, f"parquet://{table}", data=data)
    wide = pa.array(np.ones((N, D + 1)).tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": IDS, "vector": wide}), table)
    with pytest.raises(StoreError, match=r"has vectors of 13 dimensions, and the base 'old' .* gives 12"):
        stores.apply(bridge, f"parquet://{table}", probe=False)


@pytest.mark.parametrize(
    ("old", "line"),
    [
        ("parquet://{folder}/none.parquet", "there is no such"),
        ("qdrant://127.0.0.1:1/docs", "Qdrant cannot be reached"),
        ("postgresql://me:hidden@127.0.0.1:1/db?table=docs&column=embedding", "me:***@127.0.0.1"),
        ("mysql://me:hidden@host/db", "there is no store called 'mysql'"),
        ("vectors:{folder}/none", "there is no such folder of vectors"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, old, line):
    for client in ("qdrant_client", "psycopg"):
        pytest.importorskip(client)
    rows = [{"id": f"i{i}", "text": f"page {i}", "label": "x"} for i in range(60)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["migrate", str(tmp_path / "items.jsonl"), "--old", old.format(folder=tmp_path)]
    told = CliRunner().invoke(app, [*arguments, "--new", "wordllama-256", "--out", str(tmp_path / "bridge")])
    assert told.exit_code == 2, told.output
    assert line in told.output
    assert "hidden" not in told.output
    assert len(told.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "bridge").exists()


def test_documents_that_the_store_lacks_are_told(data, table):
    pq.write_table(pq.read_table(table).slice(0, N - 3), table)
    with pytest.raises(DataError, match="3 of 400 documents have no vector, the first is 'd397'"):
        migrate(old=f"parquet://{table}", new=NEW, data=data)
