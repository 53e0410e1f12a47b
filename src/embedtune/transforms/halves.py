"""Tables in half precision: a fitted table of factors, in half of its own memory."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Halves, Vectors


class Rows(Protocol):
    """What gives rows of a table of float32 numbers."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, r)."""
        ...

    def __getitem__(self, rows: slice, /) -> Vectors:
        """Give some rows."""
        ...


BLOCK = 4096
"""Rows turned at a time."""

_TOP = 14
"""The power of two that the largest number gets: far from the end, and small ones keep their digits."""


def scale_of(x: Vectors) -> float:
    """Give the power of two by which float32 ``x`` fits half precision best.

    Examples
    --------
    >>> scale_of(np.array([[0.5, -1.0]], np.float32)) == 2.0**14
    True
    """
    largest = max(
        (float(np.abs(x[i : i + BLOCK]).max(initial=0)) for i in range(0, len(x), BLOCK)), default=0.0
    )
    return scale_of_largest(largest)


def scale_of_largest(largest: float) -> float:
    """Give the scale of numbers of which this is the largest."""
    return float(2.0 ** (_TOP - np.ceil(np.log2(largest)))) if largest > 0 else 1.0


def halved_of(table: Rows, into: Halves | None = None) -> tuple[NDArray[np.float16], float]:
    """Give a table in half precision, and its scale, as :func:`halved` and :func:`scale_of`.

    Parameters
    ----------
    table : what gives float32 rows of shape (n, r)
        Asked for twice, and never held in float32.
    into : float16 array of shape (n, r), optional
        Where it goes; the table may read a block's rows from it until that block is written.
    """
    n = table.shape[0]
    blocks = [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    scale = scale_of_largest(max((float(np.abs(table[b]).max(initial=0)) for b in blocks), default=0.0))
    out = np.empty((n, table.shape[1]), np.float16) if into is None else into
    for block in blocks:
        out[block] = (table[block] * np.float32(scale)).astype(np.float16)
    return out, scale


def halved(x: Vectors, scale: float) -> NDArray[np.float16]:
    """Give ``scale * x`` as float16, in the memory of ``x``, which is used up.

    Parameters
    ----------
    x : float32 array of shape (n, r)
        C-contiguous; one that owns its memory gives half of it back, of any other a copy is made.
    scale : float
        As :func:`scale_of` gives it.
    """
    if not (x.flags.owndata and x.flags.c_contiguous and x.flags.writeable):
        x = np.array(x, np.float32, order="C")
    n, width = x.shape
    whole, half = x.reshape(-1), x.reshape(-1).view(np.float16)
    for start in range(0, n, BLOCK):  # what is written never reaches what is still to be read
        part = slice(start * width, min(start + BLOCK, n) * width)
        half[part] = (whole[part] * np.float32(scale)).astype(np.float16)
    del whole, half
    x.resize((n * width + 1) // 2, refcheck=False)
    return x.view(np.float16)[: n * width].reshape(n, width)
