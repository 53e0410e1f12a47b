"""``export_model``: files that give the model's vectors, with the README's lines alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.artifact.tuned import Tuned
from embedtune.encoders import load_encoder
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import OutputExists, UserError
from embedtune.exporting import export_model
from embedtune.transforms import ItemDeltas, Linear, then
from embedtune.types import Transform

for _module in ("sentence_transformers", "onnx", "onnxruntime", "openvino"):
    pytest.importorskip(_module)

TEXTS = ["heart attack", "the high blood pressure of the heart", "", "pain in the " * 30]

RUN = """
import json, sys
for name in ("torch", "transformers", "sentence_transformers", "embedtune", "onnx"):
    sys.modules[name] = None  # as if it were not installed
code, texts = json.load(sys.stdin)
exec(code)
print(json.dumps([encode(texts, "query").tolist(), encode(texts).tolist()]))
"""


def by_the_readme(folder: Path) -> list[Any]:
    """Run the README's code in the folder, in a Python without torch and embedtune."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)
    assert code
    assert len(code[1].splitlines()) <= 27
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([code[1], TEXTS]),
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [np.array(side) for side in json.loads(done.stdout)]


def matrix(seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((32, 32)).astype(np.float32) / 6


@pytest.fixture
def tuned(tiny_model: Path, tmp_path: Path) -> Any:
    def save(transform: Transform) -> tuple[Tuned, Path]:
        model = Tuned(load_encoder(str(tiny_model), cache=False), transform)
        return model, model.save(tmp_path / "tuned")

    return save


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_base_by_its_readme(tiny_model: Path, tmp_path: Path, format: str) -> None:
    exported = export_model(tiny_model, tmp_path / "out", format=format)
    expected = load_encoder(str(tiny_model), cache=False).encode(TEXTS)
    for side in by_the_readme(tmp_path / "out"):
        np.testing.assert_allclose(side, expected, atol=1e-5)
    assert 0 < exported.notes["largest_difference"] <= 1e-5
    assert set(exported.files) == {path.name for path in (tmp_path / "out").iterdir()} - {
        "README.md",
        "export.json",
    }


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_tuned_model_with_another_map_for_queries(tuned: Any, tmp_path: Path, format: str) -> None:
    model, folder = tuned(Linear(query=matrix(1)))
    exported = export_model(folder, tmp_path / "out", format=format)
    assert exported.routed
    queries, documents = by_the_readme(tmp_path / "out")
    np.testing.assert_allclose(queries, model.encode_queries(TEXTS), atol=1e-5)
    np.testing.assert_allclose(documents, model.encode_documents(TEXTS), atol=1e-5)
    assert np.abs(queries - documents).max() > 0.1
    opened = load_encoder(str(tmp_path / "out"), cache=False)
    np.testing.assert_allclose(opened.encode(TEXTS, kind="query"), queries, atol=1e-5)
    assert exported.name == "tuned"


def test_what_is_left_out_is_told(tuned: Any, tmp_path: Path) -> None:
    shared = matrix(2)
    deltas = ItemDeltas(ids=("a",), deltas=np.full((1, 32), 0.1, np.float32))
    model, folder = tuned(then(Linear(query=shared, document=shared), deltas))
    exported = export_model(folder, tmp_path / "out")
    assert exported.notes["without"] == ["item deltas"]
    assert "Not part of it: item deltas" in (tmp_path / "out/README.md").read_text("utf-8")
    found = load_encoder(str(tmp_path / "out"), cache=False).encode(TEXTS)
    np.testing.assert_allclose(found, model.encode_documents(TEXTS), atol=1e-5)  # as new documents


def test_mistakes_are_told_before_any_work(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no format called 'tflite'; choose from onnx, openvino"):
        export_model(tiny_model, out, format="tflite")
    with pytest.raises(UserError, match="int8 is for the format openvino"):
        export_model(tiny_model, out, format="onnx", int8=["a"])
    out.mkdir()
    with pytest.raises(OutputExists):
        export_model(tiny_model, out)


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    ids = ["a", "b"]
    vectors = VectorsEncoder.from_arrays({"documents": (ids, np.eye(2, dtype=np.float32))})
    Tuned(vectors).save(tmp_path / "tuned")
    with pytest.raises(UserError, match="cannot be exported: the base is not a sentence-transformers folder"):
        export_model(tmp_path / "tuned", tmp_path / "out")
    np.save(tmp_path / "documents.npy", np.eye(2, dtype=np.float32))
    (tmp_path / "documents.ids.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="is no text model that sentence-transformers runs"):
        export_model(f"vectors:{tmp_path}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_is_not_exported_again(tiny_model: Path, tmp_path: Path) -> None:
    export_model(tiny_model, tmp_path / "out")
    with pytest.raises(UserError, match="this is an export already"):
        export_model(tmp_path / "out", tmp_path / "again")
