"""Several sources in one dataset: what becomes one, whose weight counts where, and what cannot be mixed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune.data import read
from embedtune.data.join import join_test
from embedtune.data.mixture import mix
from embedtune.errors import DataError

FIRST = [{"query": "a", "positive": "A", "score": 2}, {"query": "b", "positive": "B", "score": 1}]
SECOND = [{"query": "a ", "positive": "C", "score": 3}, {"query": "c", "positive": "B", "score": 1}]


def test_equal_texts_become_one_and_grades_stay() -> None:
    data = read([(FIRST, 1.0), (SECOND, 0.5)])
    assert data.query_texts == ["a", "b", "c"]
    assert data.document_texts == ["A", "B", "C"]
    np.testing.assert_array_equal(data.relevance().toarray(), [[2, 0, 3], [0, 1, 0], [0, 1, 0]])
    assert data.qrels["weight"].to_pylist() == [1, 1, 0.5, 0.5]
    np.testing.assert_allclose(data.weights(), [0.75, 1, 0.5])  # of 'a': the mean of 1 and .5
    assert data.source == "data + data"


def test_without_weights_every_query_counts_once() -> None:
    np.testing.assert_array_equal(read(FIRST).weights(), [1, 1])


def test_weights_count_by_split() -> None:
    rows = [
        {"query": "a", "positive": "A", "split": "train"},
        {"query": "b", "positive": "A", "split": "test"},
    ]
    data = read([(rows, 3.0)])
    np.testing.assert_allclose(data.weights(["train"]), [3, 1])
    assert data.splits == ("train", "test")


def test_ids_of_two_sources_do_not_meet() -> None:
    one = [{"query": "a", "query_id": "1", "positive": "A", "document_id": "7"}]
    two = [{"query": "x", "query_id": "1", "positive": "X", "document_id": "7"}]
    data = read([(one, 1.0), (two, 1.0)])
    assert data.query_ids == ["1", "2:1"]
    assert data.document_ids == ["7", "2:7"]


def test_classification_keeps_its_items_and_their_weights(tmp_path: Path) -> None:
    paths = []
    for name, label in (("one", "x"), ("two", "y")):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"text": "same text", "label": label}) + "\n", "utf-8")
        paths.append(path)
    data = read([(paths[0], 2), (str(paths[1]), 0.25)])
    assert data.document_ids == ["d0", "2:d0"]
    assert data.labels == [["x"], ["y"]]
    np.testing.assert_allclose(data.weights(), [2, 0.25])


def test_a_mixture_can_be_mixed_again() -> None:
    data = read([(read([(FIRST, 0.5)]), 0.5), (SECOND, 1)])
    assert data.qrels["weight"].to_pylist() == [0.25, 0.25, 1, 1]


def test_weights_are_part_of_the_fingerprint() -> None:
    prints = {read([(FIRST, w), (SECOND, 1.0)]).fingerprint for w in (1.0, 0.5, 1.0)}
    assert len(prints) == 2


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_weights_are_above_zero(weight: float) -> None:
    with pytest.raises(DataError, match="the weight is"):
        read([(FIRST, weight)])


def test_tasks_are_not_mixed() -> None:
    with pytest.raises(DataError, match="this is classification, but data is retrieval"):
        read([(FIRST, 1.0), ([{"text": "t", "label": "l"}], 1.0)])


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("XYZ")), min_size=1), min_size=1))
def test_a_mixture_judges_what_its_sources_judge(sources) -> None:
    rows = [[{"query": query, "positive": positive} for query, positive in one] for one in sources]
    data = read([(one, 1.0) for one in rows])
    found = {
        (data.query_texts[q], data.document_texts[d])
        for q, d in zip(*data.relevance().nonzero(), strict=True)
    }
    assert found == {pair for one in sources for pair in one}
    assert len(set(data.query_texts)) == len(data.query_texts)
    assert len(set(data.document_ids)) == len(data.document_ids)


def test_a_test_file_joins_a_mixture_and_weighs_nothing() -> None:
    mixed, test = read([(FIRST, 0.5)]), read(SECOND)
    joined = join_test(mixed, test)
    assert joined.splits == ("train", "test")
    assert joined.qrels["weight"].to_pylist() == [0.5, 0.5, 1, 1]
    assert "weight" not in join_test(read(SECOND), mixed).qrels.column_names
    items = [{"text": "t", "label": "x"}]
    assert join_test(read([(items, 2.0)]), read(items)).documents["weight"].to_pylist() == [2, 1]


def test_scored_pairs_of_two_sources_are_all_there() -> None:
    def pairs(*rows):
        return read([dict(zip(("sentence1", "sentence2", "score"), row, strict=True)) for row in rows])

    first, second = pairs(("a", "b", 1), ("b", "c", 3)), pairs(("d", "a", 2))
    mixed = mix([(first, 2.0), (second, 2.0)])
    texts, found = mixed.document_texts, mixed.pairs
    assert [
        (texts[left], texts[right], score)
        for left, right, score in zip(
            *(found[name].to_pylist() for name in ("left", "right", "score")), strict=True
        )
    ] == [("a", "b", 1), ("b", "c", 3), ("d", "a", 2)]
    assert len(set(mixed.document_ids)) == len(texts)
    with pytest.raises(DataError, match="all count alike"):
        mix([(first, 1.0), (second, 0.5)])
