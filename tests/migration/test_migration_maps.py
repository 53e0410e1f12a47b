"""Maps between models, fitted to pairs whose map is known."""

from __future__ import annotations

import numpy as np
import pytest
from unit_length import unit

from embedtune.migration.maps import Affine, Procrustes, Residual, candidates


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    x = unit(rng.standard_normal((400, 8)))
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    return x, (x @ turn.T).astype(np.float32)


@pytest.mark.parametrize("fit", [Procrustes(), Affine(1e-6)])
def test_a_rotation_is_found(pairs, fit):
    x, y = pairs
    bridge = fit(x[:300], y[:300], normalise=True, seed=0)
    assert bridge.documents(x[300:]) == pytest.approx(y[300:], abs=1e-3)


def test_procrustes_between_widths_is_a_scaled_map_with_orthonormal_rows(pairs):
    x, y = pairs
    w = Procrustes()(x, y[:, :5], normalise=True, seed=0).matrix.astype(np.float64)
    assert w @ w.T == pytest.approx(np.eye(5) * (w @ w.T)[0, 0], abs=1e-5)


def test_affine_is_ridge_regression_with_an_offset(pairs):
    from sklearn.linear_model import Ridge

    x, _ = pairs
    rng = np.random.default_rng(1)
    y = (x @ rng.standard_normal((8, 3)) + 0.5 + 0.1 * rng.standard_normal((400, 3))).astype(np.float32)
    centred = (x - x.mean(axis=0)).astype(np.float64)
    known = Ridge(alpha=0.1 * np.trace(centred.T @ centred) / 8).fit(x.astype(np.float64), y)
    bridge = Affine(0.1)(x, y, normalise=False, seed=0)
    assert bridge.documents(x) == pytest.approx(known.predict(x), abs=1e-4)


def test_a_map_of_low_rank_has_that_rank_and_the_rest_of_the_fit(pairs):
    x, y = pairs
    full, low = (Affine(0.1, rank)(x, y, normalise=False, seed=0) for rank in (None, 3))
    assert np.linalg.matrix_rank(low.matrix.astype(np.float64), tol=1e-4) == 3
    same = Affine(0.1, 8)(x, y, normalise=False, seed=0)
    assert same.matrix == pytest.approx(full.matrix, abs=1e-5)


def test_a_hidden_layer_finds_what_no_affine_map_can():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 4)).astype(np.float32)
    y = np.abs(x) + 0.1
    affine, deep = (
        fit(x[:2500], y[:2500], normalise=False, seed=0) for fit in (Affine(), Residual(width=32))
    )
    errors = [float(np.mean((one.documents(x[2500:]) - y[2500:]) ** 2)) for one in (affine, deep)]
    assert errors[1] < 0.3 * errors[0]


def test_what_is_tried_depends_on_the_pairs():
    assert [fit.name for fit in candidates(100, 384, 256)] == ["procrustes", "affine of rank 64", "affine"]
    assert [fit.name for fit in candidates(5000, 384, 256)][-1] == "affine and a hidden layer"
    assert [fit.name for fit in candidates(100, 4, 4)] == ["procrustes", "affine"]
