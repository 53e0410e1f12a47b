"""Small products and decompositions by one thread, which other work on the machine hardly slows.

The threads of a BLAS wait for each other, spinning, at the end of every product. For a batch of a few hundred
rows two are a fifth to a third faster than one on an idle machine; where one of two cores has other work
they take eight to twenty times as long. So where several fits are to be made, each has a thread of its own,
and they wait for nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from functools import cache
from threading import Event
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune.training.budget import Budget

MOST = 4
"""Jobs that are done at the same time, at most: each needs memory of its own."""

SMALL = 2**27
"""Multiplications of a product up to which :func:`one_thread` takes one thread where it is told of them."""


T = TypeVar("T")


def spread(
    job: Callable[[int, Budget], T], count: int, budget: Budget, most: int = MOST
) -> Generator[tuple[int, T]]:
    """Do the jobs 0 to ``count``, several at the same time, and give each number and result once it is there.

    BLAS works with one thread meanwhile, on one core too: results are the same on any number.

    Parameters
    ----------
    job : callable
        Runs in a thread, with this thread's context variables. What it raises is raised here. It is given
        its number and a budget, of which nothing is left either once the rest is no longer wanted: this was
        closed, a job has failed, or it is interrupted. It should then end, as it is waited for.
    count : int
        How many jobs there are.
    budget : Budget
        When to stop; whom it tells is told nothing by the jobs.
    most : int
        Jobs at the same time.
    """
    ended = Event()
    within = Budget(budget.deadline, ended=ended)
    with one_thread():
        if at_once(count, most) <= 1:
            yield from ((i, job(i, within)) for i in range(count))
            return
        with ThreadPoolExecutor(at_once(count, most), "spread") as pool:
            waiting = {pool.submit(copy_context().run, job, i, within): i for i in range(count)}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                ended.set()


def at_once(count: int, most: int = MOST) -> int:
    """Give how many of ``count`` jobs :func:`spread` does at the same time, at ``most``.

    As many as there are cores that this process may use, or as ``OMP_NUM_THREADS`` says.
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said):
        cores = int(said)
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, cores, most)


@contextlib.contextmanager
def one_thread(multiplications: int = 0) -> Iterator[None]:
    """Have BLAS work with one thread while the block lasts, unless its products are large."""
    if multiplications > SMALL:
        yield
        return
    with _threads().limit(limits=1, user_api="blas"):
        yield


def eigh(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the eigenvalues (d,), ascending, and eigenvectors (d, d) of a symmetric matrix (d, d).

    As :func:`numpy.linalg.eigh`; a small one by one thread.
    """
    with one_thread(len(matrix) ** 3):
        values, axes = np.linalg.eigh(matrix)
    return values, axes


@cache
def _threads() -> Any:
    import scipy.linalg  # noqa: F401  (brings a BLAS of its own, that of scipy.optimize too)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
