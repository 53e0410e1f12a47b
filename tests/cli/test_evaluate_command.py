"""``embedtune evaluate``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedtune.artifact.tuned import Tuned
from embedtune.cli.evaluate import _Encoding, _verdict
from embedtune.encoders import load_encoder
from embedtune.judging.comparison import Gain, Side
from embedtune.judging.verdict import Evaluation
from embedtune.transforms import Linear

KEYS = {"task", "metric", "base", "tuned", "gain", "ci95", "p_value", "seconds"}
SIDE = {"overall", "seen", "unseen", "n", "n_seen", "n_unseen", "metrics"}


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
    assert set(written) >= {*KEYS, "verdict", "method", "candidates"}
    assert set(written["base"]) >= SIDE
    assert set(written["seconds"]) == {"read", "encode", "tune", "judge"}
    assert (written["method"], written["candidates"]) == ("unknown", [])  # it was made by hand
    assert all(spent >= 0 for spent in written["seconds"].values())


def test_a_base_against_itself_has_no_verdict(run, pairs, tiny_model):
    written = json.loads(run("evaluate", pairs, "--model", tiny_model, "--json", "-").stdout)
    assert (written["gain"], written["verdict"], written["method"]) == (0, None, "identity")


def test_the_method_is_the_one_that_the_artifact_was_tuned_by(run, shifted, tmp_path, monkeypatch):
    data, vectors = shifted
    monkeypatch.chdir(vectors.parent)  # an artifact keeps the name of its vectors, not their place
    base = ("--base", f"vectors:{vectors}", "--method", "procrustes")
    assert run("tune", data, *base, "--out", tmp_path / "tuned").exit_code == 0
    again = ("--model", tmp_path / "tuned", "--against", f"vectors:{vectors}", "--json", "-")
    written = json.loads(run("evaluate", data, *again).stdout)
    assert (written["method"], written["verdict"]) == ("procrustes", "tune")


NOBODY = Side(None, None, None, 0, 0, 0)


@pytest.mark.parametrize(
    ("interval", "strata", "verdict"),
    [
        ((0.01, 0.05), {}, "tune"),
        ((-0.05, -0.01), {}, "do not tune: worse"),
        ((0.01, 0.05), {"seen": Gain(-0.1, (-0.2, -0.01), 0.01, 50)}, "do not tune: worse"),
        ((-0.01, 0.019), {}, "do not tune: already good"),
        ((-0.01, 0.2), {}, "do not tune: too few labels to tell"),
        ((0.0, 0.0), {}, None),
    ],
)
def test_the_verdict_goes_by_the_interval(interval, strata, verdict):
    result = Evaluation("retrieval", "ndcg@10", NOBODY, NOBODY, 0.02, interval, 0.2, strata)
    assert _verdict(result) == verdict


def test_the_seconds_of_encoding_are_those_from_first_to_last_call(monkeypatch):
    clock = iter([1.0, 4.0, 10.0, 12.5, 20.0])
    monkeypatch.setattr("embedtune.cli.evaluate.time.monotonic", lambda: next(clock))
    told = []
    encoding = _Encoding(lambda *call: told.append(call))
    for done in (0, 5):
        encoding("encode documents", done, 5)
    for done in (2, 5, 5):  # another model's, and one that was in the cache
        encoding("encode documents", done, 5)
    assert encoding.seconds == 3.0 + 2.5
    assert len(told) == 5


def test_a_split_that_is_not_there_is_a_mistake(run, pairs, tiny_model):
    result = run("evaluate", pairs, "--model", tiny_model, "--split", "nope")
    assert result.exit_code == 2
    assert "nope" in result.stderr
    assert result.stderr.count("\n") == 1
