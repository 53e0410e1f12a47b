"""Second moments of many vectors, block by block: no copy of them is made, centred or in higher precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from embedtune.training.threads import eigh
from embedtune.types import Vectors

Matrix = NDArray[np.float64]

ROWS = 16_384
"""Rows worked on at a time; as many or fewer are worked on at once."""


def moment(x: Vectors) -> Matrix:
    """Give the second moment about zero, (d, d), of the rows of an array (n, d)."""
    return np.asarray((x.T @ x).astype(np.float64) / max(len(x), 1))


def covariance(*parts: Vectors) -> Matrix:
    """Give the second moment about the mean, (d, d), of the rows of several arrays (n_i, d) together."""
    n = sum(map(len, parts))
    if n <= ROWS:
        x = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return moment(x - x.mean(axis=0))
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in _blocks(*parts)) / n
    total = np.zeros((parts[0].shape[1],) * 2)
    for block in _blocks(*parts):
        centred = block - np.asarray(mean, np.float32)
        total += centred.T @ centred
    return total / n


def inverse_root(moment: Matrix, floor: float, power: float = 0.5) -> Matrix:
    """(moment / its mean eigenvalue + floor)^(-power), (d, d): the root where not told otherwise."""
    values, axes = eigh(moment)
    values = np.maximum(values, 0)
    values /= max(values.mean(), 1e-30)
    return np.asarray((axes * (values + floor) ** -power) @ axes.T)


def in_blocks(n: int, product: Callable[[slice], NDArray[np.floating]]) -> NDArray[np.floating]:
    """Add up what ``product`` gives for runs of ``n`` rows; at once where they are few."""
    if n <= ROWS:
        return product(slice(None))
    return np.asarray(sum(product(slice(start, start + ROWS)) for start in range(0, n, ROWS)))


def _blocks(*parts: Vectors) -> Iterator[Vectors]:
    for part in parts:
        for start in range(0, len(part), ROWS):
            yield part[start : start + ROWS]
