"""Memory-mapped arrays: let go of pages that have been read, so that a large file is never all resident."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def release(array: Any) -> None:
    """Tell the system that the pages of a mapped array may go; they are read again when needed.

    Does nothing for arrays in memory, and where the system has no such call.
    """
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)
