"""``embedtune export``, and ``--engine`` on the commands that encode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from body_words import WORDS
from typer.testing import CliRunner

from embedtune.artifact.tuned import Tuned
from embedtune.cli.app import app
from embedtune.encoders import load_encoder
from embedtune.encoders.engines.table import offered
from embedtune.transforms import Linear

for _module in ("sentence_transformers", "onnx", "onnxruntime", "openvino"):
    pytest.importorskip(_module)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        f"{word} {other},the {word} of the {other}"
        for word, other in zip(WORDS, WORDS[3:] + WORDS[:3], strict=True)
    ]
    file = tmp_path / "pairs.csv"
    file.write_text("\n".join(["query,positive", *rows]) + "\n")
    return file


def test_export_then_search_with_it(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    done = run(
        "export",
        tiny_model,
        "--format",
        "openvino",
        "--out",
        tmp_path / "out",
        "--json",
        tmp_path / "told.json",
    )
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["format"], told["precision"], told["dimension"]) == ("openvino", "f32", 32)
    assert "coordinates differ from torch by" in done.output
    hits = {}
    for model in (tiny_model, tmp_path / "out"):
        done = run("search", pairs, "--model", model, "heart kidney", "--json", tmp_path / "hits.json")
        assert done.exit_code == 0, done.output
        hits[model] = [hit["id"] for hit in json.loads((tmp_path / "hits.json").read_text())["hits"]]
    assert hits[tiny_model] == hits[tmp_path / "out"]


def test_mistakes_of_export_exit_with_2(tiny_model: Path, tmp_path: Path) -> None:
    done = run("export", tiny_model, "--format", "tflite", "--out", tmp_path / "out")
    assert (done.exit_code, "choose from onnx, openvino" in done.output) == (2, True)
    done = run(
        "export", tiny_model, "--format", "openvino", "--int8", tmp_path / "no.txt", "--out", tmp_path / "out"
    )
    assert (done.exit_code, "no.txt: cannot be read" in done.output) == (2, True)
    assert not (tmp_path / "out").exists()


def test_encode_with_an_engine(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    for engine in ("torch", "onnx"):
        done = run("encode", pairs, "--base", tiny_model, "--out", tmp_path / engine, "--engine", engine)
        assert done.exit_code == 0, done.output
    onnx, torch = (np.load(tmp_path / name / "documents.npy") for name in ("onnx", "torch"))
    np.testing.assert_allclose(onnx, torch, atol=1e-5)
    done = run("encode", pairs, "--base", tiny_model, "--out", tmp_path / "no", "--engine", "fast")
    assert (done.exit_code, "choose from torch, onnx" in done.output) == (2, True)


def test_a_tuned_model_opens_with_any_engine(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    map_ = Linear(query=np.eye(32, dtype=np.float32) + rng.standard_normal((32, 32)).astype(np.float32) / 10)
    for name in offered():  # tuned with one engine, searched with each
        model = Tuned(load_encoder(str(tiny_model), engine=name, cache=False), map_)
        model.save(tmp_path / f"by-{name}")
        base = json.loads((tmp_path / f"by-{name}/manifest.json").read_text())["base"]
        assert base["kind"] == "transformer"
        assert base.get("engine", "torch") == name
    for saved in offered():
        for engine in offered():
            opened = Tuned.load(tmp_path / f"by-{saved}", options={"engine": engine})
            expected = Tuned.load(tmp_path / "by-torch").encode_queries(["heart attack"])
            np.testing.assert_allclose(opened.encode_queries(["heart attack"]), expected, atol=0.02)
    done = run("search", pairs, "--model", tmp_path / "by-torch", "--engine", "auto", "heart kidney")
    assert done.exit_code == 0, done.output


def test_another_base_is_still_refused(tiny_model: Path, tmp_path: Path) -> None:
    from embedtune.errors import ArtifactError

    model = Tuned(load_encoder(str(tiny_model), engine=offered()[-1], cache=False))
    model.save(tmp_path / "tuned")
    other = load_encoder(str(tiny_model), cache=False, query_prompt="query document rash ")
    with pytest.raises(ArtifactError, match="gives other query vectors"):
        Tuned.load(tmp_path / "tuned", base=other, verify="full").encode_queries(["heart"])


def test_tune_and_evaluate_with_an_engine(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    done = run("tune", pairs, "--base", tiny_model, "--engine", "onnx", "--out", tmp_path / "tuned")
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "tuned/manifest.json").read_text())
    assert manifest["base"]["engine"] == "onnx"
    done = run(
        "evaluate",
        pairs,
        "--model",
        tmp_path / "tuned",
        "--against",
        tiny_model,
        "--engine",
        "onnx",
        "--json",
        tmp_path / "told.json",
    )
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["gain"] == 0  # few labels: the base as it is, by the same engine
