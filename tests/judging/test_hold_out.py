"""One part held out, for what is too long to be trained once a fold: no leaks, right sizes, given rounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.data.splits import hold_out
from embedtune.judging.classified import Classified
from embedtune.judging.labelled import Labelled
from embedtune.judging.scored import Scored
from embedtune.training.items import LabelledItems

RNG = np.random.default_rng(0)
X = RNG.standard_normal((400, 4)).astype(np.float32)


def labelled(documents: int, groups: np.ndarray | None = None, **more: object) -> Labelled:
    asked = np.arange(400) % documents
    pairs = csr_matrix((np.ones(400, np.float32), (np.arange(400), asked)), shape=(400, documents))
    own = np.arange(400) if groups is None else groups
    return Labelled(X, X[:documents], pairs, [f"d{i}" for i in range(documents)], own, **more)


def test_half_is_held_out_by_query_and_half_by_document():
    problem = labelled(100)
    one = hold_out(problem.relevance, problem.groups, share=0.2, most=800, seed=3)
    assert 60 < len(one.by_query) + len(one.by_document) < 100
    assert abs(len(one.by_query) - len(one.by_document)) < 30
    assert not one.train[np.r_[one.by_query, one.by_document]].nnz
    assert not set(problem.relevance[one.by_document].indices) & set(one.train.indices)
    assert set(problem.relevance[one.by_query].indices) & set(one.train.indices)


def test_documents_with_one_query_are_unseen_as_it_is():
    problem = labelled(400)
    one = hold_out(problem.relevance, problem.groups, share=0.2, most=800)
    assert len(one.by_query) == 80
    assert not len(one.by_document)


def test_no_more_is_held_out_than_is_needed_and_groups_stay_whole():
    groups = np.arange(400) // 5
    problem = labelled(400, groups)
    one = hold_out(problem.relevance, groups, share=0.2, most=40)
    held = np.zeros(400, bool)
    held[one.by_query] = True
    assert 30 <= held.sum() <= 50
    assert set(held.reshape(80, 5).sum(axis=1)) <= {0, 5}


def test_the_users_own_split_is_what_is_held_out_where_it_is_large_enough():
    outside = np.arange(400) >= 240
    one = labelled(100, outside=outside).hold_out(0.2, 800, 0)
    assert one.outside
    assert one.held.tolist() == list(range(240, 400))
    few = labelled(100, outside=np.arange(400) >= 370).hold_out(0.2, 800, 0)
    assert not few.outside
    assert set(few.strata) == {"seen", "unseen"}


def test_rounds_that_are_given_are_taken():
    problem = labelled(100)
    one = problem.hold_out(0.2, 800, 0)
    assert replace(problem, fixed=(one,)).rounds(5) == [one]
    labels = csr_matrix(np.eye(4)[np.arange(400) % 4])
    items = Classified(LabelledItems(X, labels, list("abcd")), np.arange(400))
    one = items.hold_out(0.25, 800, 0)
    assert np.bincount(one.held % 4).tolist() == [25] * 4  # every class alike
    assert sorted([*one.held, *one.train]) == list(range(400))
    assert replace(items, fixed=(one,)).rounds(5) == [one]
    assert len(items.hold_out(0.25, 40, 0).held) == 40
    pairs = Scored(X, np.arange(0, 400, 2), np.arange(1, 400, 2), RNG.random(200))
    one = pairs.hold_out(0.2, 800, 0)
    assert len(one.held) == 40
    assert replace(pairs, fixed=(one,)).rounds(5) == [one]
