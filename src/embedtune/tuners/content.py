"""Closed form: what an item's vectors would be, told from its content, so that new items work."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedtune.mapped import release
from embedtune.types import Halves, Vectors


class Table(Protocol):
    """An array of numbers, or what gives rows of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, r)."""
        ...

    def __getitem__(self, rows: slice, /) -> Vectors | Halves:
        """Give some rows."""
        ...


BLOCK = 4096
"""Items read at a time, as they may be memory-mapped."""


def content_maps(
    items: Vectors, rows: NDArray[np.int64], targets: tuple[Table, ...], penalty: float
) -> tuple[Vectors, ...]:
    """Ridge regressions from content to several tables of vectors.

    Every known item counts once, however often it was chosen: new items are not like the popular ones.

    Parameters
    ----------
    items : float32 array of shape (N, d)
        Content.
    rows : int array of shape (m,)
        The known items, ascending.
    targets : float arrays of shape (m, r)
        What is to be told, of the known items; or what gives blocks of such.
    penalty : float
        In units of the mean eigenvalue of the content's second moment.

    Returns
    -------
    float32 arrays of shape (r, d)
        One map a target.
    """
    d = items.shape[1]
    moment, cross = np.zeros((d, d)), [np.zeros((d, target.shape[1])) for target in targets]
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        x = np.asarray(items[some], np.float32)
        release(items)
        moment += x.T @ x
        for total, target in zip(cross, targets, strict=True):
            total += x.T @ target[start : start + BLOCK].astype(np.float32)
            release(target)
    hold = penalty * max(np.trace(moment) / d, 1e-12)
    inverse = np.linalg.inv(moment + hold * np.eye(d))
    return tuple(np.ascontiguousarray((inverse @ total).T, np.float32) for total in cross)
