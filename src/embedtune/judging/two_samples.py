"""Whether two samples of vectors come from one distribution: energy distance and a permutation test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 999

MOST = 512
"""Rows of a sample that are compared, at most."""

QUANTILE = 0.95


@dataclass(frozen=True)
class Moved:
    """How two samples differ.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> moved(rng.standard_normal((100, 4)), 2 + rng.standard_normal((100, 4))).p_value
    0.001
    """

    reference: int
    new: int
    """Rows that were compared."""
    p_value: float
    """Of the permutation test; at least 0.001."""
    coefficient: float
    """Energy distance by its largest possible value: 0 where the distributions are one, at most 1."""
    far: float
    """Share of new rows that lie farther from every reference row than 95 % of these lie from each other;
    about 0.05 where nothing has moved."""
    places: NDArray[np.int64]
    """The new rows, the one that is farthest from the reference first."""


def moved(reference: NDArray[np.floating], new: NDArray[np.floating], *, seed: int = 0) -> Moved:
    """Compare two samples by their Euclidean distances.

    The statistic is the energy distance of Székely and Rizzo ("Energy statistics: a class of statistics based
    on distances", 2013, section 3), 2 E|X − Y| − E|X − X'| − E|Y − Y'|, which is zero for equal distributions
    alone. Its p-value is that of :data:`PERMUTATIONS` random divisions of the pooled rows.

    Parameters
    ----------
    reference, new : float array of shape (n, d), (m, d)
        At least two rows each; compared as they are, so of unit length both or neither. Of more than
        :data:`MOST`, as many are drawn.
    seed : int
        Of what is drawn, and of the divisions.

    Raises
    ------
    ValueError
        When there are too few rows, or their widths differ.
    """
    if min(len(reference), len(new)) < 2 or reference.shape[1:] != new.shape[1:]:
        raise ValueError(f"two samples of vectors are compared, not {reference.shape} and {new.shape}")
    rng = np.random.default_rng(seed)
    chosen = [_drawn(rng, len(rows)) for rows in (reference, new)]
    a, b = (np.asarray(x[rows], np.float64) for x, rows in zip((reference, new), chosen, strict=True))
    n, m = len(a), len(b)
    d = _distances(np.concatenate([a, b]))
    first = np.zeros((n + m, PERMUTATIONS + 1))
    first[:n, 0] = 1
    for column in range(1, PERMUTATIONS + 1):
        first[rng.permutation(n + m)[:n], column] = 1
    product = d @ first
    within = np.einsum("ij,ij->j", first, product)
    across = product.sum(axis=0) - within
    rest = d.sum() - within - 2 * across
    energy = 2 * across / (n * m) - within / n**2 - rest / m**2
    larger = int(np.sum(energy[1:] >= energy[0] - 1e-12))
    between = 2 * across[0] / (n * m)
    own = (d[:n, :n] + np.diag(np.full(n, np.inf))).min(axis=1)
    nearest = d[n:, :n].min(axis=1)
    return Moved(
        n,
        m,
        (1 + larger) / (1 + PERMUTATIONS),
        float(max(energy[0], 0) / between) if between else 0.0,
        float(np.mean(nearest > np.quantile(own, QUANTILE) + 1e-9)),
        chosen[1][np.argsort(-nearest, kind="stable")],
    )


def _drawn(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    return np.sort(rng.choice(count, MOST, replace=False)) if count > MOST else np.arange(count)


def _distances(x: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = np.einsum("ij,ij->i", x, x)
    found = np.sqrt(np.maximum(squares[:, None] + squares - 2 * (x @ x.T), 0))
    np.fill_diagonal(found, 0)
    return np.asarray(found)
