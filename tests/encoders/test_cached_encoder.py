"""Each text once, in order, and what was done stays done after an interruption."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedtune.encoders import CachedEncoder, VectorCache, cached
from embedtune.types import Encoder


class Letters:
    """Counts letters: (a, b, length); remembers what it was asked."""

    name, dimension, similarity, fingerprint, max_tokens, content = (
        "letters",
        3,
        "dot",
        "letters 1",
        None,
        "text",
    )

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stop_after = 10**9

    def encode(self, items: Sequence[str], *, kind: str = "document") -> NDArray[np.float32]:
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += items
        return np.array(
            [[text.count("a"), text.count("b"), len(text)] for text in items], np.float32
        ).reshape(-1, 3)

    def count_tokens(self, texts: Sequence[str]) -> None:
        return None


def expected(texts: Sequence[str]) -> NDArray[np.float32]:
    return Letters().encode(texts)


def test_it_is_an_encoder_and_shows_what_the_wrapped_one_has(tmp_path: Path) -> None:
    inner: Any = Letters()
    inner.folder = Path("here")
    encoder = CachedEncoder(inner, VectorCache(tmp_path))
    assert isinstance(encoder, Encoder)
    assert encoder.folder == Path("here")
    with pytest.raises(AttributeError):
        _ = encoder.nothing


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=3), max_size=20))
def test_order_is_kept_and_each_text_is_encoded_once(tmp_path: Path, texts: list[str]) -> None:
    inner = Letters()
    for cache in (None, VectorCache(tmp_path)):
        inner.asked = []
        np.testing.assert_array_equal(CachedEncoder(inner, cache).encode(texts), expected(texts))
        assert len(inner.asked) == len(set(inner.asked))


def test_nothing_is_encoded_the_second_time(tmp_path: Path) -> None:
    CachedEncoder(Letters(), VectorCache(tmp_path)).encode(["a", "b", "ab"])
    again = Letters()
    vectors = CachedEncoder(again, VectorCache(tmp_path)).encode(["ab", "a", "aab"])
    assert again.asked == ["aab"]
    np.testing.assert_array_equal(vectors, [[1, 1, 2], [1, 0, 1], [2, 1, 3]])


def test_kinds_share_vectors_only_if_the_encoder_says_so(tmp_path: Path) -> None:
    inner: Any = Letters()
    encoder = CachedEncoder(inner, VectorCache(tmp_path))
    encoder.encode(["a"], kind="query")
    encoder.encode(["a"], kind="document")
    assert inner.asked == ["a", "a"]
    inner.prompt_key = lambda kind: "same for both"
    encoder.encode(["a"], kind="query")
    encoder.encode(["a"], kind="document")
    assert inner.asked == ["a", "a", "a"]


def test_a_cache_of_size_0_keeps_nothing(tmp_path: Path) -> None:
    CachedEncoder(Letters(), VectorCache(tmp_path, size=0)).encode(["a", "b"])
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_progress_counts_what_was_cached_and_ends_at_the_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "CHUNK_TEXTS", 2)
    seen: list[tuple[int, int]] = []
    cache = VectorCache(tmp_path)
    CachedEncoder(Letters(), cache).encode(["a"])
    CachedEncoder(Letters(), cache, progress=lambda *now: seen.append(now)).encode(["a", "b", "c", "d", "b"])
    assert seen == [(1, 4), (3, 4), (4, 4)]  # four different texts, one known; chunks of two


def test_chunks_are_bounded_by_characters_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "CHUNK_CHARACTERS", 10)
    texts = ["x" * 4, "x" * 6, "x", "x" * 30, "x" * 2]
    assert [rows.tolist() for rows in cached._chunks(texts, np.arange(5))] == [[0, 1], [2], [3], [4]]


def test_ctrl_c_keeps_the_chunks_that_were_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "CHUNK_TEXTS", 10)
    texts = [f"text {number}" for number in range(50)]
    first = Letters()
    first.stop_after = 30
    with pytest.raises(KeyboardInterrupt):
        CachedEncoder(first, VectorCache(tmp_path)).encode(texts)
    second = Letters()
    np.testing.assert_array_equal(CachedEncoder(second, VectorCache(tmp_path)).encode(texts), expected(texts))
    assert second.asked == texts[30:]


RUN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from embedtune.encoders import CachedEncoder, VectorCache, cached

class Counter:
    name, dimension, similarity, fingerprint = "letters", 3, "dot", "letters 1"
    max_tokens, content = None, "text"
    chunks = 0
    def encode(self, items, *, kind="document"):
        Counter.chunks += 1
        if Counter.chunks == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([[text.count("a"), text.count("b"), len(text)] for text in items], np.float32)

cached.CHUNK_TEXTS = 10
first, last = int(sys.argv[3]), int(sys.argv[4])
texts = [f"text {number}" for number in range(first, last)]
vectors = CachedEncoder(Counter(), VectorCache(Path(sys.argv[1]))).encode(texts)
assert vectors[:, 2].tolist() == [len(text) for text in texts]
"""


def start(folder: Path, *, die_in: int, first: int, last: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(die_in), str(first), str(last)])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_run_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(tmp_path, die_in=4, first=0, last=50).wait() == -9  # three chunks of ten are done
    monkeypatch.setattr(cached, "CHUNK_TEXTS", 10)
    texts = [f"text {number}" for number in range(50)]
    inner = Letters()
    np.testing.assert_array_equal(CachedEncoder(inner, VectorCache(tmp_path)).encode(texts), expected(texts))
    assert inner.asked == texts[30:]


def test_two_processes_at_once_leave_a_sound_cache(tmp_path: Path) -> None:
    both = [start(tmp_path, die_in=0, first=first, last=first + 600) for first in (0, 200)]
    assert [one.wait() for one in both] == [0, 0]
    texts = [f"text {number}" for number in range(800)]
    inner = Letters()
    np.testing.assert_array_equal(CachedEncoder(inner, VectorCache(tmp_path)).encode(texts), expected(texts))
    assert inner.asked == []
    assert len(list(tmp_path.rglob("*.safetensors"))) < 100  # 120 chunks of ten, merged on the way
