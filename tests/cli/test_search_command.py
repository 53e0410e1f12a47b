"""``embedtune search``."""

from __future__ import annotations

import json

from embedtune.artifact.tuned import Tuned
from embedtune.encoders import load_encoder


def test_hits_are_those_of_the_library_best_first(run, pairs, tiny_model):
    result = run("search", pairs, "pain in the stomach", "--model", tiny_model, "-k", 2, "--json", "-")
    assert result.exit_code == 0, result.stderr
    hits = json.loads(result.stdout)["hits"]
    assert len(hits) == 2
    assert hits[0]["text"] == "pain in the stomach"
    assert abs(hits[0]["score"] - 1) < 1e-5
    assert hits[0]["score"] >= hits[1]["score"]


def test_the_table_shows_texts_with_brackets_as_they_are(run, tmp_path, tiny_model):
    data = tmp_path / "brackets.jsonl"
    data.write_text('{"query": "red", "positive": "[red] skin"}\n')
    result = run("search", data, "[red] skin", "--model", tiny_model)
    assert result.stdout.count("[red] skin") == 2


def test_a_tuned_model_is_searched_from_its_folder(run, pairs, tiny_model, tmp_path):
    Tuned(load_encoder(tiny_model)).save(tmp_path / "tuned")
    tuned = run("search", pairs, "heart", "--model", tmp_path / "tuned", "--json", "-")
    base = run("search", pairs, "heart", "--model", tiny_model, "--json", "-")
    assert json.loads(tuned.stdout)["hits"] == json.loads(base.stdout)["hits"]


def test_fewer_than_one_document_is_a_mistake(run, pairs, tiny_model):
    assert run("search", pairs, "heart", "--model", tiny_model, "-k", 0).exit_code == 2
