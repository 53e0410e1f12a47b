"""Memory-mapped arrays: let go of pages that have been used, so that a large file is never all resident."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Vectors

ROWS = 64
"""Scattered rows read before their pages are let go."""

APART = 16 * 2**20
"""Bytes from which on a table has a temporary file of its own."""


def scratch(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Give an array to be filled: a large one on disk, so that :func:`release` lets its pages go.

    It begins as zeros. The file has no name, and goes with the array; where the disk has no room for it, the
    array is in memory.
    """
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    if size >= APART and hasattr(os, "posix_fallocate") and hasattr(mmap, "MADV_DONTNEED"):
        with contextlib.suppress(OSError), tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now, not by a signal later
            return np.frombuffer(mmap.mmap(file.fileno(), size), kind).reshape(shape)
    return np.zeros(shape, kind)


def release(array: Any) -> None:
    """Tell the system that the pages of a mapped file may go; they are read again when needed.

    Does nothing for arrays in memory, and where the system has no such call.
    """
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


def gather(array: Any, rows: NDArray[np.integer]) -> Vectors:
    """Copy ``rows`` of an array (N, d) to float32 (len(rows), d), letting go on the way.

    Scattered rows make the system map the pages around each: at once, that is the whole file.
    """
    copied = np.empty((len(rows), array.shape[1]), np.float32)
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        copied[part] = array[rows[part]]
        release(array)
    return copied
