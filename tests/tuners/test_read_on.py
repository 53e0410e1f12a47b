"""Long documents move towards what was not read of them, and another tuner sees them there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from unit_length import unit

from embedtune.training.of_documents import Unread
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Linear, ReadOnDeltas
from embedtune.tuners.identity import IdentityTuner
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.read_on import ReadOn
from embedtune.tuners.ridge import RidgeTuner
from embedtune.tuners.whitened import Whitened


@pytest.fixture
def unread(graded: TuningData) -> Unread:
    return Unread(np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32), np.array([1, 4]))


def test_alone_it_gives_the_weighted_mean_of_the_windows(graded: TuningData, unread: Unread) -> None:
    found = ReadOn(IdentityTuner(), share=0.5).fit(replace(graded, unread=unread))
    assert isinstance(found, ReadOnDeltas)
    assert found.ids == ("d1", "d4")
    documents = found.documents(graded.documents, graded.document_ids)
    mean = (graded.documents[[1, 4]] + 0.5 * unread.vectors) / 1.5
    np.testing.assert_allclose(documents[[1, 4]], unit(mean), atol=1e-6)
    np.testing.assert_array_equal(documents[[0, 2, 3, 5]], graded.documents[[0, 2, 3, 5]])
    np.testing.assert_array_equal(found.queries(graded.queries), graded.queries)


def test_for_dot_products_the_mean_keeps_its_length(graded: TuningData, unread: Unread) -> None:
    data = replace(graded, unread=unread, similarity="dot")
    documents = ReadOn(IdentityTuner()).fit(data).documents(data.documents, data.document_ids)
    np.testing.assert_allclose(
        documents[[1, 4]], (data.documents[[1, 4]] + 0.5 * unread.vectors) / 1.5, atol=1e-6
    )


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("tuner", [RidgeTuner(), Whitened(LinearTuner(sides="both"))])
def test_what_is_fitted_sees_the_moved_documents(
    make_world: Callable[..., Any], similarity: str, tuner: Any
) -> None:
    data = make_world(n=60, documents=80, similarity=similarity).data
    rest = np.random.default_rng(1).standard_normal((40, data.documents.shape[1])).astype(np.float32)
    data = replace(data, unread=Unread(rest, np.arange(0, 80, 2)))
    below = ReadOn(IdentityTuner()).fit(data)
    moved = replace(data, unread=None, documents=below.documents(data.documents, data.document_ids))
    above = tuner.fit(moved, seed=3)
    found = ReadOn(tuner).fit(data, seed=3)
    ids = data.document_ids
    np.testing.assert_allclose(
        found.documents(data.documents, ids), above.documents(moved.documents, ids), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(found.queries(data.queries), above.queries(data.queries), atol=1e-6)


@pytest.mark.parametrize("unread", [None, Unread(np.empty((0, 3), np.float32), np.empty(0, np.int64))])
def test_where_all_is_read_the_tuner_is_alone(graded: TuningData, unread: Unread | None) -> None:
    found, expected = (
        tuner.fit(replace(graded, unread=unread)) for tuner in (ReadOn(RidgeTuner()), RidgeTuner())
    )
    np.testing.assert_array_equal(found.query, expected.query)


def test_documents_whose_first_window_says_half_are_found(make_world: Callable[..., Any]) -> None:
    world = make_world(turn=0.0, noise=0.3)
    whole = world.held_out.documents
    noise = np.random.default_rng(5).standard_normal(whole.shape).astype(np.float32) / np.sqrt(whole.shape[1])
    first, rest = unit(whole + noise), unit(whole - noise)
    half = replace(
        world,
        train=replace(world.train, documents=first),
        held_out=replace(world.held_out, documents=first),
    )
    data = half.train.training(half.train.relevance)
    data = replace(data, unread=Unread(rest, np.arange(len(rest))))
    assert half.gain(ReadOn(IdentityTuner()).fit(data)) > 0.1


def test_what_is_unread_is_renumbered_among_labelled_documents_and_stays_below_maps(
    graded: TuningData,
) -> None:
    unread = Unread(graded.documents[[1, 3, 5]] * np.float32(-1), np.array([1, 3, 5]))
    data = replace(graded, unread=unread)
    cut = data.among_labelled()  # document 3 has no label
    assert cut.unread is not None
    assert [cut.document_ids[row] for row in cut.unread.documents] == ["d1", "d5"]
    np.testing.assert_array_equal(cut.unread.vectors, unread.vectors[[0, 2]])
    assert data.mapped(Linear.shared(np.eye(3, dtype=np.float32))).unread is None


def test_a_pool_keeps_what_is_unread_of_its_documents(
    make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedtune.judging.labelled.POOL", 300)
    train = make_world(20, 2000).train
    problem = replace(train, unread=Unread(train.documents[::2], np.arange(0, 2000, 2)))
    pool = problem.pooled(0)
    assert len(pool.documents) < 600
    assert pool.unread is not None
    assert 50 < len(pool.unread.documents) < 300
    np.testing.assert_array_equal(pool.documents[pool.unread.documents], pool.unread.vectors)
    assert pool.training(pool.relevance).unread is pool.unread
