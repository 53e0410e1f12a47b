"""A bridge applied to a store: old vectors become those of the new model's space, whatever its dimension."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner
from unit_length import unit

from embedtune.artifact.tuned import Tuned
from embedtune.cli.app import app
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.encoders.vectors import write_vectors
from embedtune.errors import ArtifactError, StoreError, UserError
from embedtune.migration import load_bridge, migrate, save_bridge
from embedtune.stores import apply, drift, rollback
from embedtune.stores.opening import open_map
from embedtune.transforms import Linear

WORDS = ["red", "blue", "green", "old", "new", "tall", "small", "bright", "dark", "quiet", "wet", "cold"]
THINGS = ["door", "river", "house", "lamp", "stone", "tree", "horse", "wheel"]
TEXTS = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in THINGS if a < b][:400]
IDS = [f"d{i}" for i in range(len(TEXTS))]
OLD = 64


def parsed(text):
    return np.array(json.loads(text), np.float64).astype(np.float32)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Give vectors of an old model, narrower than wordllama-256's and poor at queries, data, and a bridge."""
    pytest.importorskip("wordllama")
    folder = tmp_path_factory.mktemp("case")
    rng = np.random.default_rng(0)
    encoder = load_encoder("wordllama-256")
    turn = rng.standard_normal((256, OLD)) / 8
    asked = [f"the {text}" for text in TEXTS[::10]]
    old = unit(encoder.encode(TEXTS, kind="document") @ turn)
    write_vectors(folder / "old", "document", IDS, old)
    names = [f"q{i}" for i in range(len(asked))]
    noise = 0.15 * rng.standard_normal((len(asked), OLD))
    write_vectors(
        folder / "old", "query", names, unit(unit(encoder.encode(asked, kind="query") @ turn) + noise)
    )
    rows = [
        {"query": text, "query_id": name, "positive": TEXTS[10 * i], "document_id": IDS[10 * i]}
        for i, (text, name) in enumerate(zip(asked, names, strict=True))
    ]
    found = migrate(old=f"vectors:{folder}/old", new="wordllama-256", data=read(_items()), sample=300)
    return old, read(rows), save_bridge(found, folder / "bridge")


def _items():
    return [{"id": i, "text": text, "label": "thing"} for i, text in zip(IDS, TEXTS, strict=True)]


@pytest.fixture
def stored(case, tmp_path):
    """Give a Parquet file of the old vectors, with texts and one row without a vector."""
    column = pa.array([*case[0].tolist(), None], pa.list_(pa.float32()))
    table = pa.table({"id": [*IDS, "empty"], "vector": column, "body": [*TEXTS, "nothing"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def vectors_of(path):
    return np.array(pq.read_table(path)["vector"].to_pylist()[:-1], np.float32)


def test_old_vectors_become_the_new_models_and_go_back(case, stored):
    old, pairs, bridge = case
    before, url = stored.read_bytes(), f"parquet://{stored}?text=body"
    plan = apply(bridge, url, dry_run=True)
    assert (plan.rows, plan.dimension, plan.bytes) == (400, 256, 400 * 256 * 4)
    done = apply(bridge, url, data=pairs)
    assert (done.status, done.written, done.dimension, done.nulls.first) == ("switched", 400, 256, ("empty",))
    assert done.probes == pytest.approx(1.0)
    assert done.verified.recall == 1.0
    made = vectors_of(stored)
    np.testing.assert_allclose(made, load_bridge(bridge).documents(old), atol=1e-6)
    # asked by the old model before and by the new one after: the same, computed by hand
    encoder = load_encoder("wordllama-256")
    after = encoder.encode(pairs.query_texts, kind="query") @ made.T
    asked_before = load_encoder(load_bridge(bridge).manifest["old"]["name"]).encode(
        pairs.query_ids, kind="query"
    )
    for scores, key in ((after, "store"), (asked_before @ old.T, "base")):
        rank = 1 + (scores > scores[np.arange(40), np.arange(0, 400, 10)][:, None]).sum(axis=1)
        gain = np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean()
        assert done.verified.metric[key] == pytest.approx(gain, abs=0.01), key
    assert "before, " in done.text()
    assert pq.read_table(stored)["vector"].to_pylist()[-1] is None
    assert [one.code for one in drift(bridge, url).findings] == ["null-vectors"]
    rollback(url)
    assert stored.read_bytes() == before
    found = {one.code: one.severity for one in drift(bridge, url).findings}
    assert found == {"null-vectors": "warning", "not-mapped": "warning"}


def test_in_postgres_the_new_column_has_another_dimension(case, postgres):
    import psycopg

    old, _, bridge = case
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("drop table if exists moved, embedtune_versions")
        connection.execute(f"create table moved (id text primary key, embedding vector({OLD}))")
        rows = [(name, json.dumps(row.tolist())) for name, row in zip(IDS, old, strict=True)]
        connection.cursor().executemany("insert into moved values (%s, %s)", rows)
        connection.execute("create index on moved using hnsw (embedding vector_cosine_ops)")
        url = f"{postgres}&table=moved&column=embedding"
        done = apply(bridge, url)
        assert (done.status, done.dimension) == ("switched", 256)
        found = dict(connection.execute("select id, embedding::text from moved").fetchall())
        made = np.stack([parsed(found[name]) for name in IDS])
        np.testing.assert_allclose(made, load_bridge(bridge).documents(old), atol=1e-6)
        rollback(url)
        (back,) = connection.execute("select embedding::text from moved where id = 'd7'").fetchone()
        assert parsed(back).tobytes() == old[7].tobytes()


def changed(bridge, target, **parts):
    """Copy a bridge with another manifest."""
    import shutil

    shutil.copytree(bridge, target)
    manifest = json.loads((target / "manifest.json").read_text())
    for side, values in parts.items():
        manifest[side] |= values
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_an_old_model_that_is_gone_takes_no_probe(case, stored, tmp_path):
    _, pairs, bridge = case
    gone = changed(bridge, tmp_path / "gone", old={"name": "vectors:/nowhere"})
    url = f"parquet://{stored}?text=body"
    before = stored.read_bytes()
    with pytest.raises(
        StoreError, match=r"the old model 'vectors:/nowhere' of the bridge was not found.*--no-probe"
    ):
        apply(gone, url)
    assert stored.read_bytes() == before
    done = apply(gone, url, data=pairs, probe=False)
    assert "base" not in done.verified.metric
    assert done.verified.metric["store"] > 0.5
    assert "before" not in done.text()


def test_another_model_than_the_bridges_is_refused(case, stored, tmp_path):
    _, pairs, bridge = case
    url = f"parquet://{stored}?text=body"
    other = changed(bridge, tmp_path / "old", old={"fingerprint": "x"})
    with pytest.raises(StoreError, match="is not the one that the bridge was learned with"):
        apply(other, url)
    other = changed(bridge, tmp_path / "new", new={"fingerprint": "x"})
    with pytest.raises(ArtifactError, match="the new model 'wordllama-256' is not the one"):
        apply(other, url, data=pairs)


def test_a_bridge_to_a_tuned_model_asks_for_it(case, stored, tmp_path):
    old, pairs, _ = case
    base = load_encoder("wordllama-256")
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((256, 256)))[0].astype(np.float32)
    tuned = Tuned(base, Linear.shared(turn))
    found = migrate(old={"documents": (IDS, old)}, new=tuned, data=read(_items()), sample=300)
    assert found.new["tuned"]
    bridge = save_bridge(found, tmp_path / "bridge")
    url = f"parquet://{stored}?text=body"
    with pytest.raises(ArtifactError, match="--new"):
        apply(bridge, url, data=pairs, probe=False)
    done = apply(bridge, url, data=pairs, new=tuned, probe=False)
    assert done.verified.metric["store"] > 0.5
    with pytest.raises(UserError, match="--new is for bridges"):
        open_map(tuned, new="wordllama-256")
    narrow = replace(open_map(bridge, new=tuned), model=Tuned(open_map(bridge).model.encoder))
    with pytest.raises(ArtifactError, match="the new model gives 256 dimensions, and the bridge leads to 64"):
        narrow.queries(pairs, np.arange(3))


def test_on_the_command_line(case, stored, tmp_path):
    run = CliRunner().invoke
    bridge, url = str(case[2]), f"parquet://{stored}?text=body"
    before = stored.read_bytes()
    done = run(app, ["apply", bridge, "--store", url])
    assert done.exit_code == 0, done.output
    assert "(256 dimensions)" in done.output
    checked = run(app, ["check", "--store", url, "--model", bridge, "--json", str(tmp_path / "c.json")])
    assert checked.exit_code == 0, checked.output
    assert "those of base + map" in checked.output
    assert json.loads((tmp_path / "c.json").read_text())["warnings"] == 1
    assert run(app, ["apply", "--store", url, "--rollback"]).exit_code == 0
    assert stored.read_bytes() == before
    pq.write_table(pq.read_table(stored).slice(0, 0), stored)
    for arguments in (["check"], ["check", "--store", url], ["check", "--model", bridge]):
        assert run(app, arguments).exit_code == 2
