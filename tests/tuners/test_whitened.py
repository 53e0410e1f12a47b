"""Whitening in part: by the documents' covariance, the same on both sides, and folded into what is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedtune.training.of_documents import PseudoQueries
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Linear
from embedtune.tuners import compress
from embedtune.tuners.identity import IdentityTuner
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.ridge import RidgeTuner
from embedtune.tuners.whitened import Whitened, whitening
from embedtune.tuners.with_pseudo import WithPseudoQueries
from embedtune.types import Vectors


@pytest.fixture
def cone() -> Vectors:
    """Vectors around a mean, far apart along a few axes and near along the others."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    return (rng.standard_normal((500, 8)) * np.linspace(0.1, 2, 8) @ turn + 3).astype(np.float32)


def test_all_the_way_without_a_floor_the_covariance_is_round(cone: Vectors) -> None:
    covariance = np.cov(cone @ whitening(cone, 1.0, 0.0).T, rowvar=False, bias=True)
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(8), atol=1e-3)


def test_a_part_of_the_way_each_axis_is_stretched_by_that_power(cone: Vectors) -> None:
    matrix = whitening(cone, 0.3, 0.1)
    values, axes = np.linalg.eigh(np.cov(cone, rowvar=False, bias=True))
    stretch = np.diag(axes.T @ matrix @ axes)
    expected = (values / values.mean() + 0.1) ** -0.15
    np.testing.assert_allclose(stretch, expected / np.sqrt((expected**2).mean()), rtol=1e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)


def test_no_power_is_the_identity(cone: Vectors) -> None:
    np.testing.assert_allclose(whitening(cone, 0.0, 0.1), np.eye(8), atol=1e-6)


def test_vectors_without_a_spread_stay_finite() -> None:
    np.testing.assert_allclose(whitening(np.ones((5, 3), np.float32), 0.3, 0.1), np.eye(3), atol=1e-6)


def test_alone_it_maps_both_sides_by_one_matrix(graded: TuningData) -> None:
    found = Whitened(IdentityTuner()).fit(graded)
    assert isinstance(found, Linear)
    assert found.sides == "shared"
    np.testing.assert_array_equal(found.query, whitening(graded.documents, 0.3, 0.1))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("tuner", [RidgeTuner(), LinearTuner(sides="both", unlabelled=0.3)])
def test_what_is_fitted_sees_whitened_vectors_and_folds_with_the_whitening(
    make_world: Callable[..., Any], similarity: str, tuner: Any
) -> None:
    data = make_world(n=60, documents=80, similarity=similarity).data
    below = Linear.shared(whitening(data.documents, 0.3, 0.1), normalise=data.cosine)
    above = tuner.fit(data.mapped(below), seed=3)
    found = Whitened(tuner).fit(data, seed=3)
    assert isinstance(found, Linear)
    for side in ("queries", "documents"):
        x = getattr(data, side)
        expected = getattr(above, side)(getattr(below, side)(x))
        np.testing.assert_allclose(getattr(found, side)(x), expected, rtol=1e-4, atol=1e-5)


def test_pseudo_queries_are_whitened_too(graded: TuningData) -> None:
    data = replace(graded, pseudo=PseudoQueries(-graded.documents[[1, 3]], np.array([1, 3])))
    below = Linear.shared(whitening(data.documents, 0.3, 0.1))
    pseudo = replace(data.pseudo, vectors=below.queries(data.pseudo.vectors))
    expected = WithPseudoQueries(RidgeTuner()).fit(replace(data.mapped(below), pseudo=pseudo))
    found = Whitened(WithPseudoQueries(RidgeTuner())).fit(data)
    np.testing.assert_allclose(
        found.queries(data.queries), expected.queries(below.queries(data.queries)), atol=1e-5
    )


def test_of_many_documents_a_sample_is_enough(
    make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_world().data
    whole = Whitened(IdentityTuner()).fit(data, seed=1)
    monkeypatch.setattr(compress, "ROWS", 300)
    part, again, other = (Whitened(IdentityTuner()).fit(data, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_allclose(part.query, whole.query, atol=0.05)
    np.testing.assert_array_equal(part.query, again.query)
    assert not np.array_equal(part.query, other.query)


def test_it_helps_where_one_direction_drowns_the_others(make_world: Callable[..., Any]) -> None:
    world = make_world(turn=0.0, noise=0.5)
    strong = np.eye(world.data.queries.shape[1], dtype=np.float32)
    strong[0, 0] = 10.0  # all that a similarity sees
    below = Linear.shared(strong)
    held_out = replace(
        world, train=replace_vectors(world.train, below), held_out=replace_vectors(world.held_out, below)
    )
    assert held_out.gain(Whitened(IdentityTuner()).fit(held_out.data)) > 0.02


def replace_vectors(labelled: Any, below: Linear) -> Any:
    return replace(
        labelled, queries=below.queries(labelled.queries), documents=below.documents(labelled.documents)
    )
