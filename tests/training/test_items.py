"""Labelled items: names to a matrix, and few of each class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.errors import DataError, VectorError
from embedtune.training.items import LabelledItems, few_of_each

X = np.eye(4, dtype=np.float32)


def test_single_labels_and_several() -> None:
    single = LabelledItems.of(X, ["b", "a", "b", "c"])
    assert single.single
    assert single.counts.tolist() == [1, 2, 1]
    several = LabelledItems.of(X, [["b", "a", "a"], [], ["b"], ["c"]])
    assert not several.single
    assert several.labels.toarray().tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert several.names(0) == ["a", "b"]


def test_given_classes_keep_their_order_and_refuse_others() -> None:
    assert LabelledItems.of(X[:1], ["a"], classes=["z", "a"]).labels.toarray().tolist() == [[0, 1]]
    with pytest.raises(DataError, match="'b' is not among the classes"):
        LabelledItems.of(X[:1], ["b"], classes=["z", "a"])


def test_shapes_must_agree() -> None:
    with pytest.raises(VectorError, match="one row an item"):
        LabelledItems(X, csr_matrix((3, 2), dtype=np.float32), ["a", "b"])


def test_few_of_each_class() -> None:
    items = LabelledItems.of(np.zeros((20, 2), np.float32), ["a"] * 12 + ["b"] * 6 + ["c"] * 2)
    rows = few_of_each(items, 4, seed=1)
    assert items.take(rows).counts.tolist() == [4, 4, 2]
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == few_of_each(items, 4, seed=1).tolist()
    assert rows.tolist() != few_of_each(items, 4, seed=2).tolist()


def test_few_of_each_keeps_items_whose_rare_class_has_room() -> None:
    # after one item "a" is full, but "a, b" still brings a "b", and the bare item is a class of its own
    items = LabelledItems.of(X, [["a"], ["a"], ["a", "b"], []])
    for seed in range(5):
        kept = items.take(few_of_each(items, 1, seed))
        assert kept.counts[1] == 1
        assert (np.diff(kept.labels.indptr) == 0).sum() == 1
