"""Eigenvectors of small matrices by one thread, which other work on the machine hardly slows."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

NARROW = 512
"""Rows up to which a second thread brings next to nothing."""


def eigh(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the eigenvalues (d,), ascending, and eigenvectors (d, d) of a symmetric matrix (d, d).

    As :func:`numpy.linalg.eigh`. The threads of a BLAS wait for each other at every small step: for 384
    rows two are a tenth faster than one on an idle machine, and eight times slower where one of two
    cores has other work.
    """
    one = _threads().limit(limits=1, user_api="blas") if len(matrix) <= NARROW else contextlib.nullcontext()
    with one:
        values, axes = np.linalg.eigh(matrix)
    return values, axes


@cache
def _threads() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
