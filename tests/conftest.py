"""Fixtures that every room may use: a cache of its own for each test, and a tiny model."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from slow_encoder import FakeClock

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests use no network
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

WORDS = [
    "a",
    "the",
    "of",
    "and",
    "in",
    "heart",
    "lung",
    "liver",
    "kidney",
    "pain",
    "ache",
    "attack",
    "failure",
    "fever",
    "high",
    "low",
    "blood",
    "pressure",
    "sugar",
    "skin",
    "rash",
    "itch",
    "red",
    "eye",
    "ear",
    "nose",
    "head",
    "stomach",
    "bone",
    "broken",
    "weak",
    "strong",
    "sleep",
    "tired",
    "cough",
    "cold",
    "query",
    "document",
]
"""The vocabulary of the tiny model; everything else is unknown to it."""


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # run in the background, which programs that we start inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def cache_folder_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Give each test an empty cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EMBEDTUNE_CACHE_DIR", str(folder))
    monkeypatch.delenv("EMBEDTUNE_CACHE_SIZE", raising=False)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a sentence-transformers folder: a random BERT of width 32, mean pooling, normalised; 24 tokens."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def deep_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the same with two layers."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "deep", layers=2)


def make_tiny_model(
    folder: Path, *, seed: int = 0, prompts: dict[str, str] | None = None, layers: int = 1
) -> Path:
    """Write the model of :func:`tiny_model`."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: number for number, token in enumerate(special + WORDS)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    files = {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(
                [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
            )
        ],
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
        "1_Pooling/config.json": pooling,
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "2.0.0"},
            "prompts": prompts or {},
            "similarity_fn_name": "cosine",
        },
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Give a clock that only a slow encoder moves; texts are encoded ten at a time."""
    from slow_encoder import FakeClock  # here, as numpy must not be loaded before the threads are set

    made = FakeClock()
    monkeypatch.setattr(time, "monotonic", made)
    monkeypatch.setattr("embedtune.encoders.cached.CHUNK_TEXTS", 10)
    return made


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there are four GPUs of 80 GB, of which half is free."""
    torch = pytest.importorskip("torch")
    monkeypatch.delenv("EMBEDTUNE_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where: (40 * 10**9, 80 * 10**9))
