"""Ridge and Procrustes: against slow references, at their limits, and on known maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from embedtune.errors import UserError
from embedtune.tuners import TuningData
from embedtune.tuners.procrustes import ProcrustesTuner
from embedtune.tuners.ridge import RidgeTuner


def orthogonal(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def one_each(queries, documents, similarity="cosine") -> TuningData:
    pairs = csr_matrix(np.eye(len(queries), dtype=np.float32))
    ids = list(map(str, range(len(documents))))
    return TuningData(queries.astype(np.float32), documents.astype(np.float32), pairs, pairs, ids, similarity)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_ridge_is_least_squares_with_rows_that_say_identity(penalty, graded: TuningData) -> None:
    # |W q_i - t_i|^2 + c |W - I|^2 is plain least squares with d further rows: sqrt(c) e_k to sqrt(c) e_k.
    q, t = graded.queries.astype(float), graded.targets().astype(float)
    c = penalty * np.trace(q.T @ q) / 3
    rows = np.vstack([q, np.sqrt(c) * np.eye(3)])
    wanted = np.vstack([t, np.sqrt(c) * np.eye(3)])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    np.testing.assert_allclose(RidgeTuner(penalty=penalty).fit(graded).query, expected, atol=1e-5)


@pytest.mark.parametrize("tuner", [RidgeTuner, ProcrustesTuner])
def test_a_large_penalty_gives_the_identity(tuner, make_world: Callable) -> None:
    data = make_world(50, 120).data
    far = tuner(penalty=1e9).fit(data).query
    np.testing.assert_allclose(far, np.eye(len(far)), atol=1e-5)
    near = tuner(penalty=0.1).fit(data).query
    assert np.abs(near - np.eye(len(near))).max() > 0.1


def test_ridge_recovers_a_map_that_explains_everything() -> None:
    rng = np.random.default_rng(0)
    q, w = rng.standard_normal((100, 5)), rng.standard_normal((5, 5))
    fitted = RidgeTuner(penalty=1e-9).fit(one_each(q, q @ w.T, "dot"))
    np.testing.assert_allclose(fitted.query, w, atol=1e-4)
    assert not fitted.normalise


def test_procrustes_recovers_a_rotation() -> None:
    q, rotation = np.random.default_rng(0).standard_normal((100, 5)), orthogonal(5)
    fitted = ProcrustesTuner(penalty=1e-9).fit(one_each(q, q @ rotation.T))
    np.testing.assert_allclose(fitted.query, rotation, atol=1e-5)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
def test_procrustes_is_orthogonal(penalty, make_world: Callable) -> None:
    w = ProcrustesTuner(penalty=penalty).fit(make_world(50, 120).data).query
    np.testing.assert_allclose(w @ w.T, np.eye(len(w)), atol=1e-5)


@pytest.mark.parametrize("tuner", [RidgeTuner(penalty=0.1), ProcrustesTuner(penalty=0.1)])
def test_a_known_map_is_learnt(tuner, make_world: Callable) -> None:
    world = make_world()
    assert world.gain(tuner.fit(world.data)) > 0.3


@pytest.mark.parametrize("tuner", [RidgeTuner, ProcrustesTuner])
@pytest.mark.parametrize("penalty", [0, -1, float("nan")])
def test_no_penalty_is_refused(tuner, penalty) -> None:
    with pytest.raises(UserError, match="penalty"):
        tuner(penalty=penalty)
