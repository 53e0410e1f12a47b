"""Recommending from a history: how it is pooled, what is left out, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.artifact.tuned import Tuned, load
from embedtune.encoders import load_encoder
from embedtune.errors import UserError
from embedtune.training.interactions import Interactions
from embedtune.transforms import Chain, Identity, ItemFactors, Linear, Pooled, Pooling
from embedtune.transforms.pooling import history_vectors, latest_choices, pooled_history, pooling_of
from embedtune.types import Kind, Transform, Vectors

IDS = ["a", "b", "ab", "c"]
DIAGONAL = 0.5**0.5
ROWS = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0, 0, 1]], np.float32)
ITEMS = dict(zip(IDS, ["one", "two", "both", "else"], strict=True))


class Words:
    """A base that knows four texts, and counts what it encodes."""

    name, dimension, similarity, max_tokens, content = "words", 3, "cosine", None, "text"
    fingerprint = "words-1"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        self.encoded += items
        known = dict(zip(ITEMS.values(), ROWS, strict=True))
        return np.array([known.get(item, ROWS[3]) for item in items], np.float32).reshape(-1, 3)

    def count_tokens(self, texts: Sequence[str]) -> None:
        return None


def ranked(hits: list[Any]) -> list[str]:
    return [hit.id for hit in hits]


def test_plain_means_by_hand() -> None:
    # the mean of a and b is on the diagonal: (.6 + .8) / sqrt(2) = .98995 with ab, 0 with c
    hits = Tuned(Words()).recommend(["a", "b"], ITEMS)
    assert ranked(hits) == ["ab", "c"]
    assert hits[0].score == pytest.approx(1.4 * DIAGONAL)
    assert hits[0].text == "both"
    assert ranked(Tuned(Words()).recommend(["c", "b"], ITEMS, k=1)) == ["ab"]
    assert Tuned(Words()).recommend(IDS, ITEMS) == []


def test_the_latest_counts_most_where_the_pooling_says_so() -> None:
    items = {"a": "one", "b": "two", "new": "both", "old": "one"}
    # half-life 1: weights 1/2 and 1. (1, 2) on (.6, .8): 2.2 / sqrt(5); on (1, 0): 1 / sqrt(5)
    model = Tuned(Words(), Pooled(Pooling(half_life=1)))
    hits = model.recommend(["a", "b"], items)
    assert [(hit.id, round(hit.score, 4)) for hit in hits] == [("new", 0.9839), ("old", 0.4472)]
    # the other way round (2, 1): 2 / sqrt(5) for both
    assert model.recommend(["b", "a"], items)[0].score == pytest.approx(2 / 5**0.5)
    # of a choice made twice the latest counts
    assert model.recommend(["b", "a", "b"], items) == hits


def test_ratings_weigh() -> None:
    # ratings 1 and 5 around 3: 1 - 2/4 = .5 and 1 + 2/4 = 1.5, so (1, 3) / sqrt(10)
    model = Tuned(Words(), Pooled(Pooling(rating=1, spread=4)))
    (hit, _) = model.recommend(["a", "b"], ITEMS, ratings=[1, 5])
    assert hit.score == pytest.approx((0.6 + 3 * 0.8) / 10**0.5)
    assert model.recommend(["a", "b"], ITEMS)[0].score == pytest.approx(1.4 * DIAGONAL)


def factors() -> ItemFactors:
    """Who chose a is led to c; content leads nowhere else than to itself."""
    history = np.array([[0, 1]], np.float32)
    found = np.array([[1, 0]], np.float32)
    content = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    return ItemFactors(("a",), history, found, content, content, width=3, pooling=Pooling(half_life=2))


def test_maps_that_know_items_get_their_ids() -> None:
    # the history row of a is (0, 1): c is found under its content's (0, 1), b under (0, 0)
    hits = Tuned(Words(), factors()).recommend(["a"], ITEMS)
    assert ranked(hits)[0] == "c"
    assert [round(hit.score, 4) for hit in hits] == [1, 0, 0]
    # texts without ids are new items: a leads to what has its content, (1, 0)
    assert ranked(Tuned(Words(), factors()).recommend(["0"], list(ITEMS.values())))[0] == "2"


def test_precomputed_vectors_are_recommended_by_id() -> None:
    base = load_encoder({"documents": (IDS, ROWS)})
    for items in (IDS, ITEMS):
        assert ranked(Tuned(base, Pooled()).recommend(["a", "b"], items)) == ["ab", "c"]
    assert ranked(Tuned(base, factors()).recommend(["a"], IDS, k=1)) == ["c"]


@pytest.mark.parametrize("transform", [Identity(), Pooled(Pooling(half_life=3, rating=0.5)), factors()])
def test_users_are_queried_as_the_judge_queries_them(transform: Transform) -> None:
    item, rating = np.array([2, 0, 1]), np.array([3.0, 1.0, 5.0])
    data = Interactions.of(ROWS, np.zeros(3, int), item, IDS, rating=rating, time=np.arange(3))
    expected = data.matrix(pooling_of(transform)) @ history_vectors(transform, ROWS, IDS)
    ids, liking = latest_choices([IDS[i] for i in item], rating.tolist())
    found = pooled_history(transform, ROWS[item], ids, liking, "dot")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    unit = pooled_history(transform, ROWS[item], ids, liking)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_chain_pools_as_its_parts_do() -> None:
    turn = Linear.shared(np.eye(3, dtype=np.float32)[[1, 0, 2]])
    chain = Chain((turn, factors()))
    assert pooling_of(chain) == Pooling(half_life=2)
    # ids reach the factors: the history row of a, whatever its content
    assert history_vectors(chain, ROWS[:1], ["a"]).tolist() == [[0, 1, 0]]
    # a new item's content (0, 1, 0) is turned into (1, 0, 0) first
    assert history_vectors(chain, ROWS[1:2], ["b"]).tolist() == [[1, 0, 0]]
    assert pooling_of(Chain((turn,))) == Pooling()


def test_another_user_does_not_encode_the_items_again() -> None:
    encoder = Words()
    model = Tuned(encoder)
    model.recommend(["a"], ITEMS)
    encoder.encoded.clear()
    model.recommend(["b"], ITEMS)
    assert encoder.encoded == ["two"]


def test_what_is_refused() -> None:
    model = Tuned(Words())
    for history, options, said in [
        (["a", "zzz"], {}, r"'zzz'.*not the id of an item; give items"),
        ([], {}, "history is empty"),
        (["a"], {"ratings": [1, 2]}, "2 ratings for a history of 1"),
        (["a"], {"ratings": [float("nan")]}, "finite"),
        (["a"], {"k": 0}, "k is 0"),
    ]:
        with pytest.raises(UserError, match=said) as caught:
            model.recommend(history, ITEMS, **options)
        assert "\n" not in str(caught.value)
    encoder = Words()
    with pytest.raises(UserError):
        Tuned(encoder).recommend(["zzz"], ITEMS)
    assert encoder.encoded == []  # told before any model runs


@pytest.mark.parametrize("transform", [Pooled(Pooling(half_life=1)), factors()])
def test_a_recommender_is_saved_whole_and_alike(tmp_path: Path, transform: Transform) -> None:
    model = Tuned(Words(), transform, data={"task": "recommendation"})
    first, second = model.save(tmp_path / "first"), tmp_path / "second"
    read = load(first, base=Words(), verify="full")
    assert read.recommend(["a", "b"], ITEMS) == model.recommend(["a", "b"], ITEMS)
    read.save(second)
    names = {p.relative_to(first) for p in first.rglob("*") if p.is_file()}
    assert names == {p.relative_to(second) for p in second.rglob("*") if p.is_file()}
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert "tuned.recommend(" in (first / "README.md").read_text("utf-8")
