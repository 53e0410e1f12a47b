"""``embedtune evaluate``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedtune.artifact import Tuned
from embedtune.encoders import load_encoder
from embedtune.transforms import Linear


@pytest.fixture
def reversed_queries(tiny_model, tmp_path):
    """Give an artifact that harms: it turns every query's vector round."""
    tuned = Tuned(load_encoder(tiny_model), Linear(query=np.eye(32, dtype=np.float32)[::-1].copy()))
    return tuned.save(tmp_path / "reversed")


def test_a_model_against_another_has_the_keys_of_tune(run, pairs, tiny_model, reversed_queries):
    result = run("evaluate", pairs, "--model", reversed_queries, "--against", tiny_model, "--json", "-")
    assert result.exit_code == 0, result.stderr
    written = json.loads(result.stdout)
    assert written["task"] == "retrieval"
    assert written["metric"] == "ndcg@10"
    assert written["base"]["n"] == written["tuned"]["n"] == 6
    assert written["tuned"]["overall"] < written["base"]["overall"]
    assert abs(written["gain"] - (written["tuned"]["overall"] - written["base"]["overall"])) < 1e-9
    assert len(written["ci95"]) == 2


def test_a_split_that_is_not_there_is_a_mistake(run, pairs, tiny_model):
    result = run("evaluate", pairs, "--model", tiny_model, "--split", "nope")
    assert result.exit_code == 2
    assert "nope" in result.stderr
    assert result.stderr.count("\n") == 1
