"""Static models: means of token vectors, worked by hand and as their own libraries give them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embedtune.encoders import load_encoder
from embedtune.encoders.static import StaticEncoder
from embedtune.errors import ModelNotFound
from embedtune.types import Encoder

tokenizers = pytest.importorskip("tokenizers")

# row of:          [UNK]         a        b        c
TABLE = np.array([[8.0, 8.0], [3.0, 4.0], [1.0, 0.0], [0.0, 2.0]], np.float32)


def write_tokenizer(path: Path) -> None:
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = tokenizers.Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path))


def model2vec(folder: Path, config: dict[str, Any] | None = None, **tensors: np.ndarray) -> Path:
    folder.mkdir()
    save_file({"embeddings": TABLE, **tensors}, folder / "model.safetensors")
    write_tokenizer(folder / "tokenizer.json")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "model2vec", "normalize": True} | (config or {}))
    )
    return folder


def sentence_transformer(folder: Path) -> Path:
    (folder / "0_StaticEmbedding").mkdir(parents=True)
    save_file({"embedding.weight": TABLE}, folder / "0_StaticEmbedding" / "model.safetensors")
    write_tokenizer(folder / "0_StaticEmbedding" / "tokenizer.json")
    modules = [
        {
            "idx": 0,
            "name": "0",
            "path": "0_StaticEmbedding",
            "type": "sentence_transformers.models.StaticEmbedding",
        },
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def test_model2vec_means_without_unknown_tokens(tmp_path: Path) -> None:
    encoder = StaticEncoder(model2vec(tmp_path / "m"))
    assert isinstance(encoder, Encoder)
    assert (encoder.dimension, encoder.max_tokens, encoder.similarity, encoder.name) == (
        2,
        512,
        "cosine",
        "m",
    )
    vectors = encoder.encode(["a", "b c", "b zzz c", "zzz", ""])
    # (3, 4) / 5; ((1, 0) + (0, 2)) / 2 = (.5, 1), of length sqrt(1.25); unknown left out; nothing left: zero
    both = np.array([0.5, 1]) / np.sqrt(1.25)
    np.testing.assert_allclose(vectors, [[0.6, 0.8], both, both, [0, 0], [0, 0]], atol=1e-7)
    assert vectors.dtype == np.float32


def test_dot_keeps_lengths_unless_the_model_normalizes(tmp_path: Path) -> None:
    raw = StaticEncoder(model2vec(tmp_path / "m", {"normalize": False}), similarity="dot")
    np.testing.assert_allclose(raw.encode(["a", "b c"]), [[3, 4], [0.5, 1]], atol=1e-7)
    unit = StaticEncoder(model2vec(tmp_path / "n"), similarity="dot")
    np.testing.assert_allclose(unit.encode(["a"]), [[0.6, 0.8]], atol=1e-7)


def test_model2vec_weights_and_shared_rows(tmp_path: Path) -> None:
    # a and b share row 0 = (3, 4), c has row 1 = (1, 0); weights of tokens: a 1, b 2, c 5
    folder = model2vec(
        tmp_path / "m",
        {"normalize": False},
        embeddings=TABLE[1:3],
        mapping=np.array([0, 0, 0, 1], np.int32),
        weights=np.array([0, 1, 2, 5], np.float64),
    )
    vectors = StaticEncoder(folder, similarity="dot").encode(["a b", "c b"])
    # (1 (3, 4) + 2 (3, 4)) / 2 = (4.5, 6); (5 (1, 0) + 2 (3, 4)) / 2 = (5.5, 4)
    np.testing.assert_allclose(vectors, [[4.5, 6], [5.5, 4]], atol=1e-6)


def test_model2vec_reads_no_more_tokens_than_it_says(tmp_path: Path) -> None:
    encoder = StaticEncoder(
        model2vec(tmp_path / "m", {"max_length": 2, "normalize": False}), similarity="dot"
    )
    # 2 tokens x a median length of 1 = 2 characters, "b ": only b is left
    np.testing.assert_allclose(encoder.encode(["b c a a"]), [[1, 0]], atol=1e-7)
    counts = encoder.count_tokens(["b c a a"])
    assert counts is not None
    assert counts.tolist() == [4]


def test_a_folder_of_static_embedding_is_read_as_sentence_transformers_does(tmp_path: Path) -> None:
    st = pytest.importorskip("sentence_transformers")
    folder = sentence_transformer(tmp_path / "s")
    encoder: Any = load_encoder(folder)
    assert isinstance(encoder.encoder, StaticEncoder)
    texts = ["a", "b c", "b zzz c", "", "a a b"]
    expected = st.SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-6)


def test_wordllama_is_what_its_library_gives() -> None:
    wordllama = pytest.importorskip("wordllama")
    from wordllama.inference import WordLlamaInference

    texts = [
        "Heart attack",
        "a",
        "Myocardial infarction is the death of heart muscle. " * 40,
        "ein Wort, zwei",
    ]
    encoder = load_encoder("wordllama-256")
    assert (encoder.name, encoder.dimension, encoder.max_tokens) == ("wordllama-256", 256, None)
    package = Path(wordllama.__file__).parent
    table = load_file(package / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    file = package / "tokenizers" / "l2_supercat_tokenizer_config.json"
    library = WordLlamaInference(table, tokenizers.Tokenizer.from_file(str(file)))
    expected = library.embed(texts, norm=True)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-6)


def test_fingerprint_follows_table_tokenizer_and_settings(tmp_path: Path) -> None:
    first = StaticEncoder(model2vec(tmp_path / "1")).fingerprint
    assert StaticEncoder(model2vec(tmp_path / "2")).fingerprint == first
    other = model2vec(tmp_path / "3", embeddings=TABLE * 2)
    assert StaticEncoder(other).fingerprint != first
    assert StaticEncoder(model2vec(tmp_path / "4", {"max_length": 9})).fingerprint != first
    assert StaticEncoder(tmp_path / "1", similarity="dot").fingerprint != first


def test_folders_that_are_no_static_model_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no static model"):
        StaticEncoder(tmp_path)
    folder = model2vec(tmp_path / "m")
    save_file({"other": TABLE}, folder / "model.safetensors")
    with pytest.raises(ModelNotFound, match="no table 'embeddings'"):
        StaticEncoder(folder)
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelNotFound, match=r"model\.safetensors"):
        StaticEncoder(folder)


def test_static_models_need_no_torch(tmp_path: Path) -> None:
    code = "import sys; from embedtune.encoders import load_encoder; load_encoder(sys.argv[1]).encode(['a'])"
    code += "; print([name for name in ('torch', 'transformers', 'wordllama') if name in sys.modules])"
    folder = str(model2vec(tmp_path / "m"))
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
