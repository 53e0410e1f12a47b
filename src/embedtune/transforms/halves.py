"""Tables in half precision, block by block: what a fitted table of factors is kept and shipped in."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from embedtune.mapped import release, scratch
from embedtune.types import Halves, Vectors


class Rows(Protocol):
    """What gives rows of a table of float32 numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, r)."""
        ...

    def __getitem__(self, rows: slice, /) -> Vectors:
        """Give some rows."""
        ...


BLOCK = 4096
"""Rows turned at a time."""

_TOP = 14
"""The power of two that the largest number gets: far from the end, and small ones keep their digits."""


def scale_of(table: Rows) -> float:
    """Give the power of two by which a table fits half precision best.

    Examples
    --------
    >>> scale_of(np.array([[0.5, -1.0]], np.float32)) == 2.0**14
    True
    """
    largest = 0.0
    for block in _blocks(table):
        largest = max(largest, float(np.abs(table[block]).max(initial=0)))
        release(table)
    return float(2.0 ** (_TOP - np.ceil(np.log2(largest)))) if largest > 0 else 1.0


def halved(table: Rows, scale: float | None = None) -> tuple[Halves, float]:
    """Give a table of float32 rows (n, r) in half precision, times ``scale``, and that scale.

    Unless given it is that of :func:`scale_of`. The table is asked for one block after the other, twice to
    scale it, and its pages are let go; the result is
    :func:`~embedtune.mapped.scratch`.
    """
    scale = scale_of(table) if scale is None else scale
    out = scratch(table.shape, np.float16)
    for block in _blocks(table):
        out[block] = table[block] * np.float32(scale)
        release(table)
        release(out)
    return out, scale


def _blocks(table: Rows) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, table.shape[0], BLOCK)]
