"""``embedtune tune``: what is shown, saved and written, and what is refused before any work."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest
from slow_encoder import FakeClock

import embedtune
from embedtune.encoders import load_encoder
from embedtune.encoders.vectors import write_vectors

KEYS = {
    *("task", "metric", "base", "tuned", "gain", "ci95", "p_value", "verdict", "method", "seconds"),
    *("candidates", "out"),
}
"""What the JSON of tune has at its top."""

SIDE = {"overall", "seen", "unseen", "n", "n_seen", "n_unseen", "metrics"}
"""What ``base`` and ``tuned`` have in them."""


def test_a_map_that_helps_is_saved_and_said_to_help(run, shifted, tmp_path):
    data, vectors = shifted
    out = tmp_path / "tuned"
    result = run("tune", data, "--base", f"vectors:{vectors}", "--out", out, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.stderr
    written = json.loads((tmp_path / "r.json").read_text())
    assert set(written) >= KEYS
    assert set(written["base"]) >= SIDE
    assert set(written["tuned"]) >= SIDE
    assert written["verdict"] == "tune"
    assert written["tuned"]["overall"] > written["base"]["overall"] + 0.3
    assert written["base"]["n"] == 100
    assert "retrieval, 400 queries, 200 documents" in result.stdout
    assert "question 0" in result.stdout  # one of the example rows
    assert f"saved the tuned model: {out}" in result.stdout
    assert f"embedtune search {data} --model {out}" in result.stdout
    assert embedtune.load(out).verdict["decision"] == "tune"


def test_smaller_vectors_are_shown_and_saved(run, shifted, tmp_path):
    data, vectors = shifted
    options = ("--base", f"vectors:{vectors}", "--out", tmp_path / "tuned", "--method", "ridge")
    written = run("tune", data, *options, "--bytes-per-vector", "4", "--json", "-")
    assert written.exit_code == 0, written.stderr
    sizes = json.loads(written.stdout)["sizes"]
    chosen = next(one for one in sizes if one["chosen"])
    assert chosen["bytes"] <= 4
    assert "smaller vectors" in written.stderr
    assert "<- chosen" in written.stderr
    assert embedtune.load(tmp_path / "tuned").manifest["dimension"] == chosen["dims"]


@pytest.mark.parametrize(
    ("given", "said"), [("half", "--dims is 'half'"), ("9999", "9999 dimensions are more")]
)
def test_dims_that_cannot_be_are_refused(run, shifted, tmp_path, given, said):
    data, vectors = shifted
    result = run("tune", data, "--base", f"vectors:{vectors}", "--out", tmp_path / "x", "--dims", given)
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")
    assert not (tmp_path / "x").exists()


def test_too_few_labels_save_the_base_and_say_so(run, pairs, tiny_model, tmp_path):
    out = tmp_path / "tuned"
    result = run("tune", pairs, "--base", tiny_model, "--out", out, "--json", "-")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["verdict"].startswith("do not tune")
    assert "saved the base as it is" in result.stderr
    saved = embedtune.load(out).encode_queries(["head ache"])
    np.testing.assert_array_equal(saved, load_encoder(tiny_model).encode(["head ache"], kind="query"))


def test_the_file_given_as_test_is_what_is_judged(run, shifted, tmp_path):
    data, vectors = shifted
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    held = tmp_path / "held.jsonl"
    held.write_text("".join(json.dumps(row | {"split": "test"}) + "\n" for row in rows[:40]))
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row | {"split": "train"}) + "\n" for row in rows[40:]))
    base = ("--base", f"vectors:{vectors}")
    result = run("tune", train, *base, "--out", tmp_path / "t", "--test", held, "--json", "-")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["base"]["n"] == 40


def test_an_output_that_exists_is_refused_before_the_data_is_looked_for(run, tmp_path):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "thesis.tex").write_text("mine")
    for flags in ([], ["--overwrite"]):
        result = run("tune", tmp_path / "nope.csv", "--base", "x", "--out", tmp_path / "tuned", *flags)
        assert result.exit_code == 2
        assert str(tmp_path / "tuned") in result.stderr
        assert result.stderr.count("\n") == 1
    assert (tmp_path / "tuned" / "thesis.tex").read_text() == "mine"


def test_overwrite_replaces_a_tuned_model(run, pairs, tiny_model, tmp_path):
    arguments = ("tune", pairs, "--base", tiny_model, "--out", tmp_path / "tuned")
    assert run(*arguments).exit_code == 0
    assert run(*arguments).exit_code == 2
    assert run(*arguments, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--base", "no-such-model"], "no-such-model"),
        (["--method", "no-such-method"], "no-such-method"),
        (["--metric", "no-such-metric"], "no-such-metric"),
        (["--keep", "1.5"], "keep is 1.5"),
        (["--budget", "a while"], "a while"),
        (["--role", "query=no-such-column"], "no-such-column"),
        (["--task", "no-such-task"], "no-such-task"),
        (["--test", "no-such-split"], "no-such-split"),
    ],
    ids=lambda value: value[0][2:] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_2_and_nothing_is_written(run, pairs, tiny_model, tmp_path, flags, named):
    base = [] if "--base" in flags else ["--base", tiny_model]
    result = run("tune", pairs, "--out", tmp_path / "tuned", *base, *flags)
    assert result.exit_code == 2, result.stderr
    assert named in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_ctrl_c_exits_with_130_keeps_the_cache_and_writes_nothing(
    start, tiny_model, tmp_path, cache_folder_of_its_own
):
    rows = ({"query": f"heart {n}", "positive": " ".join(["lung"] * 20 + [str(n)])} for n in range(20_000))
    data = tmp_path / "many.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    process = start("tune", data, "--base", tiny_model, "--out", tmp_path / "tuned")
    shards = cache_folder_of_its_own / "vectors"
    try:
        started = time.monotonic()
        while not any(shards.rglob("*.safetensors")) and process.poll() is None:
            assert time.monotonic() - started < 300, "the machine is too slow for this test"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.endswith("interrupted: tune was stopped; vectors encoded so far are kept\n")
    assert "Traceback" not in err
    assert any(shards.rglob("*.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["many.jsonl"]


def test_scored_pairs_get_a_threshold_that_is_shown_and_saved(run, tmp_path):
    rng = np.random.default_rng(0)
    told = rng.standard_normal((120, 8))
    same = np.arange(120) % 2 == 0
    other = np.where(same[:, None], told + 0.3 * rng.standard_normal((120, 8)), rng.standard_normal((120, 8)))
    ids = [f"text {number}" for number in range(240)]
    write_vectors(tmp_path / "vectors", "document", ids, np.concatenate([told, other]))
    rows = [
        {"sentence1": ids[n], "sentence2": ids[120 + n], "score": 4 if same[n] else n % 3} for n in range(120)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    base = ("--base", f"vectors:{tmp_path / 'vectors'}", "--out", tmp_path / "tuned")
    result = run("tune", data, *base, "--same-at", 3, "--precision", 0.9, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.stderr
    threshold = json.loads((tmp_path / "r.json").read_text())["threshold"]
    assert (threshold["n_same"], threshold["same_at"], threshold["aim"]) == (60, 3, "precision >= 0.9")
    assert threshold["precision"] > 0.85
    assert f"same from a similarity of {threshold['threshold']:.3f} (precision >= 0.9)" in result.stdout
    assert embedtune.load(tmp_path / "tuned").threshold.to_dict() == threshold | {
        name: tuple(threshold[name]) for name in ("precision_ci95", "recall_ci95")
    }
    refused = run("tune", data, *base, "--overwrite", "--same-at", 9)
    assert refused.exit_code == 2
    assert "no pairs have a score of at least 9" in refused.stderr


def test_a_budget_that_ends_while_texts_are_encoded_keeps_the_base_and_goes_on(
    run, pairs, tiny_model, tmp_path, monkeypatch
):
    from embedtune.encoders import transformer

    clock, plain, asked = FakeClock(), transformer.TransformerEncoder._forward, []

    def two_seconds(self, texts, kind):
        clock.now += 2
        asked.extend(texts)
        return plain(self, texts, kind)

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(transformer, "BATCH_TEXTS", 5)
    monkeypatch.setattr(transformer.TransformerEncoder, "_forward", two_seconds)
    out, written = tmp_path / "tuned", tmp_path / "r.json"
    command = ("tune", pairs, "--base", tiny_model, "--out", out, "--json", written, "--force")
    result = run(*command, "--budget", "5s")
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "verdict: do not tune: 15 of 44 texts were encoded within the budget of 5 s" in said
    assert "another run goes on where this one stopped" in said
    assert f"saved the base as it is, because nothing was tried: {out}" in said
    assert said.endswith("next: the same command with --overwrite")
    assert "too few labels" not in said
    found = json.loads(written.read_text())
    assert (found["stopped"], found["labels"], found["labels_needed"]) == (True, 16, None)
    assert (found["candidates"], len(found["reasons"])) == ([], 1)
    assert set(found) >= KEYS
    assert set(found["base"]) >= SIDE
    assert embedtune.load(out, verify="full").encode_queries(["heart ache"]).shape == (1, 32)

    first = asked[:15]
    asked.clear()
    result = run(*command, "--budget", "1h", "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert not set(first) & set(asked)
    assert "16 labelled queries are too few to tell" in " ".join(result.stdout.split())
    assert "saved the base as it is" in result.stdout  # there was no map to force
