"""Eigenvectors are those of numpy, small ones by one thread, and the BLAS has its threads back afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from embedtune.tuners import threads as threads_of


@pytest.mark.parametrize("width", [1, 7, 40])
@pytest.mark.parametrize("small", [0, 2**27])
def test_they_are_those_of_numpy(width: int, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_of, "SMALL", small)
    x = np.random.default_rng(0).standard_normal((width, width))
    matrix = x @ x.T
    values, axes = threads_of.eigh(matrix)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-10)
    np.testing.assert_allclose((axes * values) @ axes.T, matrix, atol=1e-10)


def test_a_small_matrix_is_worked_on_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seen = np.linalg.eigh, []

    def watched(matrix: np.ndarray) -> object:
        seen.append(threads())
        return plain(matrix)

    monkeypatch.setattr(np.linalg, "eigh", watched)
    monkeypatch.setattr(threads_of, "SMALL", 4**3)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        threads_of.eigh(np.eye(4))
        threads_of.eigh(np.eye(5))
        assert threads() == before
    assert 1 not in before
    assert 1 in seen[0]
    assert seen[1] == before


def threads() -> set[int]:
    """Threads that each BLAS takes."""
    return {one["num_threads"] for one in ThreadpoolController().select(user_api="blas").info()}
