"""Exports as folders: opened as a base, refused in one line where they are damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.encoders import load_encoder
from embedtune.encoders.engines.exported import is_export, read_export
from embedtune.encoders.engines.from_torch import finish
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import ArtifactError, UserError

for _module in ("sentence_transformers", "onnx", "onnxruntime", "openvino"):
    pytest.importorskip(_module)

TEXTS = ["heart attack", "the high blood pressure of the heart", "red skin"]


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from embedtune.exporting import export_model

    out = tmp_path_factory.mktemp("exports") / "onnx"
    export_model(tiny_model, out)
    return out


@pytest.fixture
def export(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "export"))


def change(folder: Path, **changes: Any) -> None:
    file = folder / "export.json"
    read = json.loads(file.read_text("utf-8")) | changes
    file.write_text(json.dumps({key: value for key, value in read.items() if value is not None}))


def test_it_is_opened_as_a_base(export: Path, tiny_model: Path) -> None:
    encoder: Any = load_encoder(str(export))
    assert (encoder.dimension, encoder.max_tokens, encoder.similarity) == (32, 24, "cosine")
    assert encoder.encoder.engine == "onnx"
    np.testing.assert_allclose(encoder.encode(TEXTS), TransformerEncoder(tiny_model).encode(TEXTS), atol=1e-5)
    assert encoder.folder is None
    counts = encoder.count_tokens(["heart attack"])
    assert counts.tolist() == [4]


def test_other_engines_read_it_too(export: Path, tiny_model: Path) -> None:
    encoder: Any = load_encoder(str(export), engine="openvino")
    np.testing.assert_allclose(encoder.encode(TEXTS), TransformerEncoder(tiny_model).encode(TEXTS), atol=1e-5)
    # the same model by the same engine is the same encoder, wherever its files are
    assert encoder.fingerprint == load_encoder(str(tiny_model), engine="openvino").fingerprint
    with pytest.raises(UserError, match="which torch does not run; choose from onnx"):
        load_encoder(str(export), engine="torch")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"half"), "damaged: its checksum is wrong"),
        (lambda folder: (folder / "model.onnx").unlink(), "the file is missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "damaged: its checksum is wrong"),
        (lambda folder: (folder / "export.json").write_text("{"), "the manifest cannot be read"),
        (lambda folder: (folder / "export.json").write_text("[]"), "not that of an export"),
        (lambda folder: change(folder, format_version=99), "reads up to 1; upgrade embedtune"),
        (lambda folder: change(folder, models=None), "the manifest is incomplete"),
        (lambda folder: change(folder, files={}), "the manifest is incomplete"),
        (lambda folder: change(folder, precision="f8"), "the manifest is incomplete"),
        (
            lambda folder: change(folder, models={"query": "../model.onnx", "document": "../model.onnx"}),
            "the manifest is incomplete",
        ),
    ],
)
def test_damage_gets_one_line(export: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(export)
    assert is_export(export)
    with pytest.raises(ArtifactError, match=told) as caught:
        load_encoder(str(export))
    assert "\n" not in str(caught.value)


def test_files_outside_the_folder_are_refused(export: Path) -> None:
    files = read_export(export).files
    change(export, files={**files, "../model.onnx": files["model.onnx"]})
    with pytest.raises(ArtifactError, match=r"incomplete \('\.\./model\.onnx'\)"):
        read_export(export)


def test_a_model_that_no_engine_can_open_gets_one_line(export: Path) -> None:
    exported = read_export(export)
    (export / "model.onnx").write_bytes(b"not a model")
    finish(exported)  # checksums that fit
    for engine in ("onnx", "openvino"):
        with pytest.raises(ArtifactError, match="the model cannot be opened") as caught:
            load_encoder(str(export), engine=engine, cache=False).encode(["heart"])
        assert "\n" not in str(caught.value)
