"""A test file beside the training data."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.data import read
from embedtune.data.join import join_test
from embedtune.errors import DataError

TRAIN = [
    {"query": "a", "positive": "x", "split": "train"},
    {"query": "b", "positive": "y", "split": "test"},
]


def test_documents_with_equal_texts_are_one() -> None:
    joined = join_test(read(TRAIN), read([{"query": "c", "positive": "y"}, {"query": "d", "positive": "z"}]))
    assert joined.document_texts == ["x", "y", "z"]
    assert joined.query_texts == ["a", "b", "c", "d"]
    assert joined.splits == ("train", "test")
    np.testing.assert_array_equal(joined.relevance(["train"]).toarray()[0], [1, 0, 0])
    test = joined.relevance(["test"]).toarray()
    np.testing.assert_array_equal(
        test, [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    )  # the old test split went


def test_ids_stay_unique() -> None:
    joined = join_test(read(TRAIN), read([{"query": "c", "positive": "z"}]))
    assert len(set(joined.query_ids)) == len(joined.query_ids)
    assert len(set(joined.document_ids)) == len(joined.document_ids)


def test_the_split_a_test_file_names_does_not_matter() -> None:
    joined = join_test(read(TRAIN), read([{"query": "c", "positive": "x", "split": "dev"}]))
    assert joined.splits == ("train", "test")
    assert joined.query_rows(["test"]).tolist() == [2]


def test_negatives_of_the_test_file_come_too() -> None:
    joined = join_test(read([{"query": "a", "positive": "x", "negative": "y"}]),
                       read([{"query": "c", "positive": "y", "negative": "x"}]))  # fmt: skip
    np.testing.assert_array_equal(joined.negatives(["test"]).toarray(), [[0, 0], [1, 0]])


def test_labelled_items() -> None:
    train = read([{"text": "a", "label": "one"}, {"text": "b", "label": "two", "split": "test"}])
    joined = join_test(train, read([{"text": "c", "label": "two"}]))
    assert joined.document_texts == ["a", "c"]
    assert joined.documents["split"].to_pylist() == ["train", "test"]
    assert joined.labels == [["one"], ["two"]]


def test_tasks_must_agree() -> None:
    with pytest.raises(DataError, match="for classification, the training data for retrieval"):
        join_test(read(TRAIN), read([{"text": "c", "label": "two"}]))
