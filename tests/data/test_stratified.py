"""Parts of labelled items: even in every class, groups whole."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.data.stratified import stratified_parts


def labels(columns: list[int]) -> csr_matrix:
    return csr_matrix(np.eye(max(columns) + 1, dtype=np.float32)[columns])


def test_every_class_is_dealt_out_evenly() -> None:
    own = [0] * 20 + [1] * 10 + [2] * 5
    part = stratified_parts(labels(own), np.arange(35), 5, seed=1)
    for column, each in ((0, 4), (1, 2), (2, 1)):
        assert np.bincount(part[np.array(own) == column], minlength=5).tolist() == [each] * 5


def test_groups_stay_whole_and_a_group_that_is_too_large_is_split() -> None:
    groups = np.arange(60) // 3
    part = stratified_parts(labels([0, 1] * 30), groups, 5, seed=0)
    assert (part.reshape(20, 3) == part.reshape(20, 3)[:, :1]).all()
    one = stratified_parts(labels([0, 1] * 30), np.zeros(60, np.int64), 5, seed=0)
    assert np.bincount(one).tolist() == [12] * 5


def test_an_item_counts_as_its_rarest_class_and_items_without_one_are_a_class() -> None:
    rows = np.zeros((30, 2), np.float32)
    rows[:20, 0] = 1  # ten of the first class alone, ten of both
    rows[:10, 1] = 1
    part = stratified_parts(csr_matrix(rows), np.arange(30), 5, seed=2)
    for some in (slice(0, 10), slice(10, 20), slice(20, 30)):
        assert np.bincount(part[some], minlength=5).tolist() == [2] * 5


def test_seeds_and_nothing() -> None:
    own, groups = labels([0, 1] * 30), np.arange(60)
    assert stratified_parts(own, groups, 5, 1).tolist() == stratified_parts(own, groups, 5, 1).tolist()
    assert stratified_parts(own, groups, 5, 1).tolist() != stratified_parts(own, groups, 5, 2).tolist()
    assert stratified_parts(csr_matrix((0, 2), dtype=np.float32), groups[:0], 5, 0).tolist() == []
