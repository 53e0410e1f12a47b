"""Small products and decompositions by one thread, which other work on the machine hardly slows.

The threads of a BLAS wait for each other, spinning, at the end of every product. For a batch of a few hundred
rows two are a fifth to a third faster than one on an idle machine; where one of two cores has other work
they take eight to twenty times as long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL = 2**27
"""Multiplications of a product up to which :func:`one_thread` takes one thread where it is told of them."""


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
