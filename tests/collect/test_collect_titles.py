"""Titles are encoded where they may help, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedtune import fine_tune
from embedtune.collect import collect
from embedtune.collect import titles as module
from embedtune.collect.of_documents import with_of_documents
from embedtune.data import Dataset, read
from embedtune.data.dataset import titled
from embedtune.training.budget import Budget


class Encoder:
    """Words in as many places; knows which texts it was asked for, and as what."""

    name, dimension, similarity, fingerprint, max_tokens, content = "words", 32, "cosine", "w", None, "text"

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = {"query": [], "document": []}

    def encode(self, items: list[str], *, kind: str = "document") -> Any:
        self.asked[kind] += items
        x = np.full((len(items), self.dimension), 1e-3, np.float32)
        for row, text in enumerate(items):
            for word in text.lower().rstrip(".").split():
                x[row, sum(word.encode()) % self.dimension] += 1
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def data(labels: int = 40, documents: int = 120) -> Dataset:
    """Give documents with titles; the first few of them have a query each."""
    texts = [f"Illness number{i} hurts. It lasts for {i} days and then it goes." for i in range(documents)]
    dataset = read([{"query": f"what is number{i}", "positive": text} for i, text in enumerate(texts)])
    called = {i: f"Illness number{i}" for i in range(documents)}
    return replace(dataset, documents=titled(dataset.documents, called), qrels=dataset.qrels.slice(0, labels))


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def test_they_train_as_queries_of_their_documents(encoder: Encoder) -> None:
    dataset = data()
    found = with_of_documents(collect(dataset, encoder, test="test"), dataset, encoder, Budget())
    assert found.labels == 40
    assert len(found.train) == 40
    pseudo = found.train.training(found.train.relevance).pseudo
    assert pseudo is not None
    assert pseudo.documents.tolist() == list(range(120))
    expected = Encoder().encode([f"Illness number{i}" for i in range(120)])
    np.testing.assert_array_equal(pseudo.vectors, expected)
    assert encoder.asked["query"][-1] == "Illness number119"


def test_not_where_there_are_few_of_them_or_many_labels(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = data(documents=99), data(labels=41)
    monkeypatch.setattr(module, "MOST_LABELS", 40)
    for dataset in (few, many):
        found = collect(dataset, encoder, test="test")
        assert with_of_documents(found, dataset, encoder, Budget()) is found


def test_not_where_it_costs_money(encoder: Encoder) -> None:
    dataset = data()
    found = collect(dataset, encoder, test="test")
    encoder.cost = lambda items, kind: f"{len(items)} of {kind}"  # type: ignore[attr-defined]
    assert with_of_documents(found, dataset, encoder, Budget()) is found
    encoder.cost = lambda items, kind: None  # type: ignore[attr-defined]
    assert with_of_documents(found, dataset, encoder, Budget()).train.pseudo is not None


def test_not_where_vectors_are_known_by_id(encoder: Encoder, by_id: Callable[[Dataset, Any], Any]) -> None:
    dataset = data()
    vectors = by_id(dataset, encoder)
    found = collect(dataset, vectors, test="test")
    assert with_of_documents(found, dataset, vectors, Budget()) is found


def test_not_beside_labels_of_the_same_kind(encoder: Encoder) -> None:
    dataset = data()
    found = collect(dataset, encoder, test="test")
    own = replace(found, train=replace(found.train, made=np.arange(40) < 20))
    assert with_of_documents(own, dataset, encoder, Budget()) is own


def test_the_labels_serve_alone_where_they_would_take_too_long(
    encoder: Encoder, clock: Any, slow_down: Callable[[Any], None]
) -> None:
    dataset = data()
    found = collect(dataset, encoder, test="test")
    slow_down(encoder)
    start = clock.now
    assert with_of_documents(found, dataset, encoder, Budget(start + 50)) is found
    assert start + 10 <= clock.now < start + 12
    assert with_of_documents(found, dataset, encoder, Budget(clock.now + 500)).train.pseudo is not None


def test_a_ladder_tries_them_and_a_method_by_name_does_not(encoder: Encoder) -> None:
    tuned = fine_tune(base_model=encoder, data=data(), seed=0)
    assert tuned.verdict is not None
    tried = {one["method"] for one in tuned.verdict.candidates}
    assert {"linear (queries, titles)", "linear (both, titles)"} <= tried
    title = "Illness number7"
    assert title in encoder.asked["query"]
    other = Encoder()
    fine_tune(base_model=other, data=data(), seed=0, method="linear")
    assert title not in other.asked["query"]
