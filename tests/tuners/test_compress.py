"""The projection to fewer dimensions: its start, its gradient, and what it is for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from embedtune.errors import UserError
from embedtune.transforms.codes import Binary
from embedtune.tuners import Budget, TuningData
from embedtune.tuners.batches import Batches
from embedtune.tuners.compress import (
    CompressTuner,
    _Descent,
    closed_form,
    followed_loss,
    rotation,
)


def random(n: int, r: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, r)).astype(np.float32)


def moment(x: np.ndarray) -> np.ndarray:
    return (x.T @ x).astype(np.float64) / len(x)


def test_where_both_sides_are_alike_the_closed_form_is_pca() -> None:
    x = random(200, 6) * np.array([5, 4, 3, 1, 0.5, 0.1], np.float32)
    a, b = closed_form(moment(x), moment(x), 3)
    axes = np.linalg.eigh(moment(x))[1][:, -3:]
    assert np.allclose(a.T @ b, axes @ axes.T, atol=1e-2)
    assert np.allclose(b @ b.T, np.eye(3), atol=1e-5)


def test_the_closed_form_has_the_least_error_of_all_scores() -> None:
    q, d = random(80, 5) @ random(5, 5, 1), random(120, 5, 2) @ random(5, 5, 3)

    def error(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean((q @ d.T - (q @ a.T) @ (d @ b.T).T) ** 2))

    a, b = closed_form(moment(q), moment(d), 2)
    best = error(a, b)
    s = np.linalg.svd(q @ d.T, compute_uv=False)  # Eckart and Young: no rank 2 comes nearer
    assert best == pytest.approx(float(np.sum(s[2:] ** 2) / (len(q) * len(d))), rel=1e-2)
    for seed in range(5):
        assert error(a + 0.1 * random(2, 5, seed), b) > best


def test_all_dimensions_change_no_score() -> None:
    q, d = random(30, 4), random(40, 4, 1)
    a, b = closed_form(moment(q), moment(d), 4)
    assert np.allclose((q @ a.T) @ (d @ b.T).T, q @ d.T, atol=1e-3)
    assert np.allclose(np.linalg.norm(d @ b.T, axis=1), np.linalg.norm(d, axis=1), rtol=1e-4)


def test_following_the_full_scores_costs_nothing_where_they_are_kept() -> None:
    y, z = random(3, 4), random(5, 4, 1)
    loss, by_pair = followed_loss(y, z, y @ z.T, 2.0)
    assert loss == pytest.approx(0, abs=1e-6)
    assert np.abs(by_pair).max() < 1e-6
    other = followed_loss(y, z, -(y @ z.T), 2.0)[0]
    p, s = (np.exp(sign * 2 * (y @ z.T).astype(float)) for sign in (-1, 1))
    p, s = p / p.sum(axis=1, keepdims=True), s / s.sum(axis=1, keepdims=True)
    assert other == pytest.approx(float(np.mean(np.sum(p * np.log(p / s), axis=1))), rel=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("distil", [0.0, 0.4, 1.0])
def test_the_gradient_is_that_of_finite_differences(
    similarity: str, distil: float, graded: TuningData, as_dot: Callable
) -> None:
    data = graded if similarity == "cosine" else as_dot(graded)
    tuner = CompressTuner(dims=2, distil=distil, scale=3.0)
    descent = _Descent(tuner, data, np.random.default_rng(0))
    batch = next(iter(Batches(data, size=4, hard=1, sample=6, rng=np.random.default_rng(0))))
    _, found = descent.gradients(batch)
    for side, gradient in found.items():
        for place in np.ndindex(gradient.shape):
            losses = []
            for step in (0.002, -0.002):
                kept = descent.matrix[side]
                descent.matrix[side] = kept.copy()
                descent.matrix[side][place] += step
                losses.append(descent.gradients(batch)[0])
                descent.matrix[side] = kept
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 0.004, abs=3e-3, rel=0.01)


def test_training_beats_the_closed_form_on_new_queries(make_world: Callable) -> None:
    world = make_world(n=300, documents=600, d=12, turn=0.3)
    fitted = [CompressTuner(dims=6, passes=passes).fit(world.data) for passes in (0, 8)]
    gains = [world.gain(one) for one in fitted]
    assert gains[1] > gains[0] + 0.01
    documents = fitted[1].documents(world.train.documents)
    assert documents.shape == (600, 6)
    assert np.allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)


def test_same_seed_same_bytes(make_world: Callable) -> None:
    world = make_world(40, 300)
    tuner = CompressTuner(dims=4, sample=50, hard=2, batch=16, passes=2, least_steps=4)
    states = [tuner.fit(world.data, seed=seed).state()[0] for seed in (7, 7, 8)]
    for name in states[0]:
        assert states[0][name].tobytes() == states[1][name].tobytes()
        assert states[0][name].tobytes() != states[2][name].tobytes()


def test_a_budget_in_the_past_leaves_the_closed_form(make_world: Callable) -> None:
    data = make_world(20, 100).data
    fitted = CompressTuner(dims=3).fit(data, budget=Budget(time.monotonic() - 1))
    a, b = closed_form(moment(data.queries), moment(data.documents), 3)
    assert np.allclose(fitted.query, a, atol=1e-4)
    assert np.allclose(fitted.document, b, atol=1e-4)


def test_without_queries_documents_stand_for_them(make_world: Callable) -> None:
    data = make_world(20, 100).data
    none = replace(data, queries=data.queries[:0], positives=data.positives[:0], known=data.known[:0])
    fitted = CompressTuner(dims=3).fit(none)
    a, b = closed_form(moment(data.documents), moment(data.documents), 3)
    assert np.allclose(fitted.query.T @ fitted.document, a.T @ b, atol=1e-3)


def test_a_rotation_changes_no_score_and_brings_documents_nearer_to_their_signs() -> None:
    x = random(400, 6) * np.array([9, 3, 1, 0.3, 0.1, 0.1], np.float32)
    turn = rotation(x)
    assert np.allclose(turn @ turn.T, np.eye(6), atol=1e-5)
    turned = x @ turn.T
    kept = [np.mean(np.sum(Binary.fitted(y).documents(y) * y, axis=1)) for y in (x, turned)]
    assert kept[1] > kept[0]


@pytest.mark.parametrize("wrong", [{"dims": 0}, {"dims": 2, "distil": 2.0}, {"dims": 2, "unlabelled": 0.0}])
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"compress: {list(wrong)[-1]}"):
        CompressTuner(**wrong)


def test_more_dimensions_than_there_are_are_refused(make_world: Callable) -> None:
    with pytest.raises(UserError, match="more than the 12"):
        CompressTuner(dims=13).fit(make_world(20, 50).data)
