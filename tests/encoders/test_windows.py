"""What a model does not read of a text: in windows that it does read, each with the text's beginning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune.encoders.tokens import TokenCounter
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.encoders.windows import later_windows

tokenizers = pytest.importorskip("tokenizers")

WORDS = [f"w{i}" for i in range(200)]


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> TokenCounter:
    """A token a word, and one special token at either end."""
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    found = TokenCounter.of(file)
    assert found is not None
    return found


def text(words: int) -> str:
    return " ".join(WORDS[:words])


def test_each_window_begins_as_the_text_does_and_goes_on_where_the_last_one_ended(
    counter: TokenCounter,
) -> None:
    windows, rows = later_windows([text(5), text(27), text(10), text(11)], counter, 12)
    # 10 words are read, and a quarter of them, 2, begin each window
    assert windows == [
        "w0 w1 " + " ".join(WORDS[10:18]),
        "w0 w1 " + " ".join(WORDS[18:26]),
        "w0 w1 w26",
        "w0 w1 w10",
    ]
    assert rows.tolist() == [1, 1, 1, 3]


def test_of_a_very_long_text_three_windows_are_enough(counter: TokenCounter) -> None:
    windows, rows = later_windows([text(200)], counter, 12)
    assert rows.tolist() == [0, 0, 0]
    assert windows[-1].endswith(" w33")


def test_a_prompt_takes_room(counter: TokenCounter) -> None:
    assert not later_windows([text(10)], counter, 12)[0]
    windows, _ = later_windows([text(10)], counter, 12, prompt="w198 w199 ")
    assert windows == ["w0 w1 w8 w9"]


def test_a_model_that_reads_next_to_nothing_has_no_windows(counter: TokenCounter) -> None:
    windows, rows = later_windows([text(50)], counter, 5)
    assert windows == []
    assert (rows.dtype, rows.shape) == (np.int64, (0,))


@given(lengths=st.lists(st.integers(0, 120), max_size=6), limit=st.integers(6, 60))
def test_all_that_is_not_read_is_in_one_window_and_none_is_too_long(
    counter: TokenCounter, lengths: list[int], limit: int
) -> None:
    texts = [text(words) for words in lengths]
    windows, rows = later_windows(texts, counter, limit)
    room = limit - 2
    head = room // 4 if room // 4 < 32 else 32
    assert np.all(counter.count(windows) <= limit)
    for row, words in enumerate(lengths):
        parts = [windows[i].split() for i in np.flatnonzero(rows == row)]
        assert all(part[:head] == WORDS[:head] for part in parts)
        later = [word for part in parts for word in part[head:]]
        assert later == WORDS[room:words][: 3 * (room - head)]


def test_a_model_cuts_documents_by_its_own_tokens(tiny_model: Path) -> None:
    encoder = TransformerEncoder(tiny_model)  # reads 24 tokens, two of them special
    windows, rows = encoder.later_windows(["red skin", "pain in the " * 10])
    assert rows.tolist() == [1]
    assert windows == ["pain in the pain in in the pain in the pain in the"]
    shorter = TransformerEncoder(tiny_model, max_tokens=12)
    assert shorter.later_windows(["pain in the " * 4])[1].tolist() == [0]


def test_without_a_fast_tokenizer_nothing_is_cut(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenCounter, "of", classmethod(lambda cls, file: None))
    assert TransformerEncoder(tiny_model).later_windows(["pain in the " * 10])[0] == []
