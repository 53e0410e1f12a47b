"""Small work by one thread, several jobs at the same time, and the BLAS has its threads back afterwards."""

from __future__ import annotations

from contextvars import ContextVar
from threading import Barrier, Event

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from embedtune.training import threads as threads_of
from embedtune.training.budget import Budget
from embedtune.training.threads import spread


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


@pytest.mark.parametrize("cores", ["1", "3"])
def test_every_job_is_done_with_one_thread_of_the_blas(cores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    said = ContextVar("said", default="nothing")
    said.set("something")

    def job(i: int, within: Budget) -> tuple[int, set[int], str]:
        return i * i, threads(), said.get()

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        found = dict(spread(job, 7, Budget()))
        assert threads() == before
    assert found == {i: (i * i, {1}, "something") for i in range(7)}


def test_jobs_are_done_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    together = Barrier(3, timeout=30)  # a job passes only beside two others
    assert len(dict(spread(lambda i, within: together.wait() >= 0, 3, Budget()))) == 3


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_no_longer_wanted_ends_or_is_never_begun(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun: list[Event] = []

    def job(i: int, within: Budget) -> None:
        begun.append(within.ended)
        if i > 0:
            assert within.ended.wait(30)
            assert within.left == 0
        elif fails:
            raise ValueError("no")

    jobs = spread(job, 50, Budget())
    if fails:
        with pytest.raises(ValueError, match="no"):
            next(jobs)
    else:
        assert next(jobs) == (0, None)
        assert not begun[0].is_set()
        jobs.close()
    assert begun[0].is_set()
    assert len(begun) <= 4


def threads() -> set[int]:
    """Threads that each BLAS takes."""
    return {one["num_threads"] for one in ThreadpoolController().select(user_api="blas").info()}
