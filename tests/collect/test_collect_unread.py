"""What the base does not read is encoded where many documents are long, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune import evaluate, fine_tune, load
from embedtune.collect import collect
from embedtune.collect import unread as module
from embedtune.collect.of_documents import with_of_documents
from embedtune.data import Dataset, read
from embedtune.encoders import load_encoder
from embedtune.training.budget import Budget


class Encoder:
    """Six words in as many places are all that it reads of a text; the rest comes four words at a time."""

    name, dimension, similarity, fingerprint, max_tokens, content = "words", 64, "cosine", "w", 6, "text"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, items: list[str], *, kind: str = "document") -> Any:
        self.asked += items
        x = np.full((len(items), self.dimension), 1e-3, np.float32)
        for row, text in enumerate(items):
            for word in text.lower().split()[:6]:
                x[row, sum(n * byte for n, byte in enumerate(word.encode(), 1)) % self.dimension] += 1
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def count_tokens(self, texts: list[str]) -> Any:
        return np.array([len(text.split()) for text in texts])

    def later_windows(self, texts: list[str]) -> tuple[list[str], Any]:
        words = [text.split() for text in texts]
        cut = [(row, i) for row, own in enumerate(words) for i in range(6, len(own), 4)]
        windows = [" ".join(words[row][:2] + words[row][i : i + 4]) for row, i in cut]
        return windows, np.array([row for row, _ in cut], np.int64)


def data(labels: int = 40, documents: int = 120, long: int = 60) -> Dataset:
    """Give documents of which some are long; what they are asked for is at the end of these."""
    texts = [
        f"about illness number{i}"
        + (f" and much else to be told of marker{i} then end{i} last{i}" * (i < long))
        for i in range(documents)
    ]
    rows = [
        {"query": f"what of marker{i} last{i}" if i < long else f"what is number{i}", "positive": text}
        for i, text in enumerate(texts)
    ]
    dataset = read(rows)
    return replace(dataset, qrels=dataset.qrels.slice(0, labels))


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def test_a_document_has_the_mean_of_its_later_windows(encoder: Encoder) -> None:
    dataset = data()
    found = with_of_documents(collect(dataset, encoder, test="test"), dataset, encoder, Budget())
    unread = found.train.training(found.train.relevance).unread
    assert unread is not None
    assert unread.documents.tolist() == list(range(60))
    windows = ["about illness to be told of", "about illness marker7 then end7 last7"]
    np.testing.assert_allclose(unread.vectors[7], Encoder().encode(windows).mean(axis=0), atol=1e-6)


def test_not_where_few_documents_are_long_or_very_many(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for long, expected in ((0, 0), (5, 0), (6, 6)):
        dataset = data(long=long)
        found = with_of_documents(collect(dataset, encoder, test="test"), dataset, encoder, Budget())
        unread = found.train.unread
        assert (0 if unread is None else len(unread.documents)) == expected
    monkeypatch.setattr(module, "MOST_LONG", 5)
    monkeypatch.setattr(module, "BLOCK", 2)
    cut: list[str] = []
    later_windows = encoder.later_windows
    monkeypatch.setattr(encoder, "later_windows", lambda texts: (cut.extend(texts), later_windows(texts))[1])
    found = collect(dataset, encoder, test="test")
    assert with_of_documents(found, dataset, encoder, Budget()) is found
    assert len(cut) == 6  # no more are looked at


def test_not_where_nothing_is_tuned(encoder: Encoder) -> None:
    dataset = data(labels=10)
    found = collect(dataset, encoder, test="test")
    assert with_of_documents(found, dataset, encoder, Budget()) is found


def test_not_where_the_model_does_not_cut_texts_or_vectors_are_known_by_id(
    encoder: Encoder, by_id: Callable[[Dataset, Any], Any]
) -> None:
    dataset = data()
    vectors = by_id(dataset, encoder)
    found = collect(dataset, vectors, test="test")
    assert with_of_documents(found, dataset, vectors, Budget()) is found


def test_documents_are_read_as_before_where_it_would_take_too_long(
    encoder: Encoder, clock: Any, slow_down: Callable[[Any], None]
) -> None:
    dataset = data()
    found = collect(dataset, encoder, test="test")
    slow_down(encoder)
    start = clock.now
    assert with_of_documents(found, dataset, encoder, Budget(start + 20)) is found
    assert start + 4 <= clock.now < start + 6
    assert with_of_documents(found, dataset, encoder, Budget(clock.now + 500)).train.unread is not None


def test_a_ladder_reads_on_where_that_helps_and_a_method_by_name_does_not(encoder: Encoder) -> None:
    dataset = data(labels=60)
    tuned = fine_tune(base_model=encoder, data=dataset, seed=0)
    assert tuned.verdict is not None
    assert tuned.verdict.decision == "tune"
    assert "read on" in tuned.verdict.method
    assert "about illness marker7 then end7 last7" in encoder.asked
    other = Encoder()
    fine_tune(base_model=other, data=dataset, seed=0, method="linear")
    assert "about illness marker7 then end7 last7" not in other.asked


def test_an_artifact_knows_the_ends_of_documents_and_reads_new_ones_on_too(
    tiny_model: Path, tmp_path: Path
) -> None:
    names = [f"{a} {b} {c}" for a in PLACES for b in SIGNS for c in SIGNS if b < c]
    texts = [f"{'of the and in ' * 6}{name}" for name in names]  # 24 words, of which the model reads 22
    rows = [{"query": name, "positive": text} for name, text in zip(names, texts, strict=True)]
    tuned = fine_tune(base_model=load_encoder(str(tiny_model)), data=rows, seed=0)
    assert tuned.verdict is not None
    assert tuned.verdict.decision == "tune", tuned.verdict.text()
    assert "read on" in tuned.verdict.method
    tuned.save(tmp_path / "tuned")
    card = (tmp_path / "tuned" / "README.md").read_text("utf-8")
    assert "the first 24 tokens are read. What documents say beyond is in the shifts of known ones" in card
    again = load(tmp_path / "tuned")
    ids = read(rows).document_ids
    known = again.encode_documents(texts, ids=ids)
    np.testing.assert_allclose(known, tuned.encode_documents(texts, ids=ids), atol=1e-5)
    best = (again.encode_queries(names) @ known.T).argmax(axis=1)
    assert (best == np.arange(len(names))).mean() > 0.5
    np.testing.assert_allclose(again.encode_documents(texts), known, atol=1e-5)  # new documents
    some = [name if row % 2 else f"new-{row}" for row, name in enumerate(ids)]
    np.testing.assert_allclose(again.encode_documents(texts, ids=some), known, atol=1e-5)
    others = [f"in {text}" for text in texts]
    judged = evaluate([{"query": q, "positive": d} for q, d in zip(names, others, strict=True)], model=again)
    scores = again.encode_queries(names) @ again.encode_documents(others).T
    rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert judged.tuned.overall == pytest.approx(np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean())
    assert judged.base.overall < 0.2  # it tells them from one another no more than before
    assert judged.tuned.overall > 0.6


PLACES = ("heart", "kidney", "liver", "skin")
SIGNS = ("pain", "high", "blood", "red", "pressure")
