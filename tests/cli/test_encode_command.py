"""``embedtune encode``: files, maps, mistakes and interruptions."""

from __future__ import annotations

import json
import signal
import time

import numpy as np

from embedtune.artifact.tuned import Tuned
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.transforms import Linear


def test_vectors_are_written_as_the_vectors_encoder_reads_them(run, pairs, tiny_model, tmp_path):
    out = tmp_path / "vectors"
    result = run("encode", pairs, "--base", tiny_model, "--out", out, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.stderr
    data, encoder, written = read(pairs), load_encoder(tiny_model), load_encoder(f"vectors:{out}")
    np.testing.assert_array_equal(written.encode(data.document_ids), encoder.encode(data.document_texts))
    np.testing.assert_array_equal(
        written.encode(data.query_ids, kind="query"), encoder.encode(data.query_texts, kind="query")
    )
    said = json.loads((tmp_path / "r.json").read_text())
    assert (said["documents"], said["queries"], said["dimension"]) == (22, 22, 32)


def test_a_tuned_models_map_is_applied(run, pairs, tiny_model, tmp_path):
    encoder = load_encoder(tiny_model)
    turn = np.eye(32, dtype=np.float32)[::-1].copy()  # each vector reversed
    Tuned(encoder, Linear(query=turn)).save(tmp_path / "tuned")
    assert run("encode", pairs, "--base", tmp_path / "tuned", "--out", tmp_path / "v").exit_code == 0
    data, written = read(pairs), load_encoder(f"vectors:{tmp_path / 'v'}")
    base = encoder.encode(data.query_texts, kind="query")
    np.testing.assert_allclose(written.encode(data.query_ids, kind="query"), base[:, ::-1], atol=1e-6)
    np.testing.assert_array_equal(written.encode(data.document_ids), encoder.encode(data.document_texts))


def test_an_output_that_exists_is_refused_before_the_model_is_looked_for(run, pairs, tmp_path):
    (tmp_path / "v").mkdir()
    result = run("encode", pairs, "--base", "no-such-model", "--out", tmp_path / "v")
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert not any((tmp_path / "v").iterdir())


def test_an_unknown_model_is_one_line_and_2(run, pairs, tmp_path):
    result = run("encode", pairs, "--base", "all-MiniLM-L6-v9", "--out", tmp_path / "v")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no model 'all-MiniLM-L6-v9'")
    assert "did you mean 'all-MiniLM-L6-v2'?" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "v").exists()


def test_an_artifact_with_a_damaged_manifest_is_not_taken_for_its_base(run, pairs, tiny_model, tmp_path):
    Tuned(load_encoder(tiny_model)).save(tmp_path / "tuned")
    (tmp_path / "tuned" / "manifest.json").write_text("{")
    result = run("encode", pairs, "--base", tmp_path / "tuned", "--out", tmp_path / "v")
    assert result.exit_code == 2
    assert "manifest" in result.stderr


def test_ctrl_c_exits_with_130_keeps_the_cache_and_writes_nothing(
    start, tiny_model, tmp_path, cache_folder_of_its_own
):
    rows = ({"query": f"heart {n}", "positive": " ".join(["lung"] * 20 + [str(n)])} for n in range(20_000))
    data = tmp_path / "many.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    process = start("encode", data, "--base", tiny_model, "--out", tmp_path / "v")
    shards = cache_folder_of_its_own / "vectors"
    try:
        _wait(lambda: any(shards.rglob("*.safetensors")) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.endswith("interrupted: encode was stopped; vectors encoded so far are kept\n")
    assert "Traceback" not in err
    assert any(shards.rglob("*.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.jsonl"]


def _wait(ready, most: float = 300.0) -> None:
    started = time.monotonic()
    while not ready():
        assert time.monotonic() - started < most, "the machine is too slow for this test"
        time.sleep(0.02)
