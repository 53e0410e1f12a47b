"""The token table: trained vectors are the encoder's, and stock sentence-transformers loads what is saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from embedtune import fine_tune, load
from embedtune.artifact.probes import uncached
from embedtune.encoders import load_encoder
from embedtune.encoders.static import StaticEncoder
from embedtune.weights.methods import Table
from embedtune.weights.static import StaticTower
from embedtune.weights.texts import Texts

TEXTS = ["heart attack", "the red eye of a cold", "something unknown", "", "pain in the " * 30]


@pytest.fixture
def model2vec(deep_model: Path, tmp_path: Path) -> Path:
    """Give a model2vec folder with the tiny vocabulary; unknown tokens are left out."""
    folder = tmp_path / "m2v"
    folder.mkdir()
    shutil.copy(deep_model / "tokenizer.json", folder / "tokenizer.json")
    size = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    table = np.random.default_rng(0).standard_normal((size, 16)).astype(np.float32)
    save_file({"embeddings": table}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    return folder


def test_vectors_are_those_of_the_encoder_before_and_after(model2vec: Path, tmp_path: Path) -> None:
    encoder = StaticEncoder(model2vec)
    tower, texts = StaticTower(encoder), Texts()
    rows = texts.add(TEXTS)
    tower.read(texts, tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(tower(rows), encoder.encode(TEXTS), atol=1e-6)
        tower.table += 0.5 * torch.randn(tower.table.shape, generator=torch.Generator().manual_seed(0))
        moved = tower(rows).numpy()
    tower.save(tmp_path / "saved")
    saved = load_encoder(str(tmp_path / "saved"), cache=False)
    assert isinstance(uncached(saved), StaticEncoder)
    np.testing.assert_allclose(saved.encode(TEXTS), moved, atol=1e-5)


def test_a_static_model_is_tuned_judged_saved_and_loaded(
    model2vec: Path, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers")
    tuned = fine_tune(base_model=str(model2vec), data=rows, method="table")
    verdict = tuned.verdict
    assert verdict.decision == "tune", verdict.text()
    assert verdict.method.startswith("table")
    assert verdict.tuned.overall > verdict.base.overall + 0.05
    tuned.save(tmp_path / "out")
    base = tuned.manifest["base"]
    assert base["tuned_from"]["fingerprint"] == StaticEncoder(model2vec).fingerprint != base["fingerprint"]
    loaded = load(tmp_path / "out", verify="full")
    np.testing.assert_allclose(loaded.encode_queries(TEXTS), tuned.encode_queries(TEXTS), atol=1e-5)
    if tuned.manifest["stock_loader"] == "exact":
        model = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
        np.testing.assert_allclose(model.encode_query(TEXTS[:2]), tuned.encode_queries(TEXTS[:2]), atol=1e-5)


def test_tokens_without_labels_stay(model2vec: Path, tmp_path: Path, asked: Callable[..., Any]) -> None:
    from embedtune.weights.train import train
    from embedtune.weights.work import material_of

    given = asked(model2vec)
    encoder: Any = uncached(given.encoder)
    tower = StaticTower(encoder)
    material = material_of(Table(), given, given.pool.hold_out(0.2, 800, 0))
    tower.read(material.texts, tmp_path)
    trained = train(tower, material, Table())
    assert trained.gain > 0
    tower.save(tmp_path / "saved")
    saved = StaticEncoder(tmp_path / "saved").table
    moved = np.flatnonzero(np.abs(saved - encoder.table).max(axis=1) > 1e-5)
    unknown = encoder._unknown  # left out by the base, a row of zeros in what is saved
    assert set(moved) - {unknown} <= set(tower.rows.tolist())
    assert 3 < len(tower.rows) < len(saved) - 3
    assert len(moved) > 3
