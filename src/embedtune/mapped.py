"""Memory-mapped arrays: let go of pages that have been read, so that a large file is never all resident."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Vectors

ROWS = 64
"""Scattered rows read before their pages are let go."""


def release(array: Any) -> None:
    """Tell the system that the pages of a mapped array may go; they are read again when needed.

    Does nothing for arrays in memory, and where the system has no such call.
    """
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


def gather(array: Any, rows: NDArray[np.int64]) -> Vectors:
    """Copy ``rows``, ascending, of an array (N, d) to float32 (len(rows), d), letting go on the way.

    Scattered rows make the system map the pages around each: at once, that is the whole file.
    """
    copied = np.empty((len(rows), array.shape[1]), np.float32)
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        copied[part] = array[rows[part]]
        release(array)
    return copied
