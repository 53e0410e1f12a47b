"""Closed form: the vectors under which items are found, so that a pooled history finds what came next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.mapped import ROWS as SCATTERED
from embedtune.mapped import gather, release, scratch
from embedtune.training.interactions import Interactions
from embedtune.transforms.pooling import Pooling
from embedtune.tuners.cooccurrence import found
from embedtune.types import Halves, Vectors

BLOCK = 5_000
"""Interactions pooled at a time, in whole users."""

ROWS = 2048
"""Items, or users, worked on at a time."""

MOST = 2_000_000
"""Interactions learned from, at most: the latest users' are left out."""


def next_item_vectors(
    train: Interactions,
    history: Vectors | Halves,
    pooling: Pooling,
    *,
    ahead: float = 4.0,
    penalty: float = 0.1,
) -> Vectors:
    """Fit item vectors to every moment of every history.

    At each moment t of a history, ``z_t`` is the history so far, pooled; the items that followed weigh
    ``0.5 ** (k / ahead)``, k steps on. The vectors minimise the squared error of ``z_t · v_j`` against
    those weights, plus ``penalty`` times the mean eigenvalue of ``z``'s second moment times ``|v|²``.

    Parameters
    ----------
    train : Interactions
        With times.
    history : float array of shape (N, r)
        What each item adds to a history; half precision will do.
    pooling : Pooling
        Its half-life weighs the history; ratings are not used here.
    ahead : float
        Half-life of what follows, in interactions.
    penalty : float
        Above 0.

    Returns
    -------
    float32 array of shape (N, r)
        :func:`~embedtune.mapped.scratch`; zero for items that followed nothing.

    References
    ----------
    Choi et al. 2021, Session-aware Linear Item-Item Models (SLIT, WWW, eq. 11), here in factors and
    with decaying weights, so that it is one ridge regression of r x r.
    """
    cross, moment = _cross(train, history, pooling, ahead)
    _solve(cross, moment, penalty)
    return cross


def _cross(
    train: Interactions, history: Vectors | Halves, pooling: Pooling, ahead: float
) -> tuple[Vectors, NDArray[np.float64]]:
    """Add up the faded moments that each item followed, (N, r), and the moments' second moment, (r, r)."""
    rank = history.shape[1]
    cross, moment = scratch(history.shape, np.float32), np.zeros((rank, rank))
    fade = 1.0 if pooling.half_life is None else 0.5 ** (1 / pooling.half_life)
    for rows in _blocks(train):
        item, place = train.item[rows], train.place[rows]
        known, at = np.unique(item, return_inverse=True)
        z = _before(_decayed(gather(history, known)[at], place, fade), place)
        moment += z.T @ z
        followed = _decayed(z, place, 0.5 ** (1 / ahead))  # row i: the moments that item i followed
        del z
        n = len(item)
        sums = csr_matrix((np.ones(n, np.float32), (at, np.arange(n))), (len(known), n)) @ followed
        for start in range(0, len(known), SCATTERED):
            some = slice(start, start + SCATTERED)
            cross[known[some]] += sums[some]
            release(cross)
    return cross, moment


def _solve(cross: Vectors, moment: NDArray[np.float64], penalty: float) -> None:
    """Make of sums the vectors of the ridge regression, in place."""
    rank = len(moment)
    hold = penalty * max(np.trace(moment) / rank, 1e-12)
    inverse = np.linalg.inv(moment + hold * np.eye(rank))
    for start in range(0, len(cross), ROWS):
        cross[start : start + ROWS] = cross[start : start + ROWS].astype(np.float64) @ inverse
        release(cross)


def mix(second: Vectors, history: Vectors | Halves, share: float, moment: NDArray[np.float64]) -> None:
    """Make ``second`` (N, r), in place, ``(1 - share) found(history) + share second``.

    Both parts are scaled so that the histories of which ``moment`` (r, r) is the second moment score alike
    on them.
    """
    inner = np.zeros((2, *moment.shape))
    blocks = [slice(start, start + ROWS) for start in range(0, len(second), ROWS)]
    for block in blocks:
        for total, v in zip(inner, (found(history[block].astype(np.float32)), second[block]), strict=True):
            total += v.T @ v
        release(history)
        release(second)
    first, other = (max(float(np.sqrt(np.sum(moment * total))), 1e-12) for total in inner)
    for block in blocks:
        second[block] *= np.float32(share * first / other)
        second[block] += np.float32(1 - share) * found(history[block].astype(np.float32))
        release(history)
        release(second)


def pooled_moment(weights: csr_matrix, history: Vectors | Halves) -> NDArray[np.float64]:
    """Second moment (r, r) of the pooled histories that ``weights`` (users, N) make of ``history`` (N, r)."""
    moment = np.zeros((history.shape[1], history.shape[1]))
    start, indptr = 0, weights.indptr
    while start < weights.shape[0]:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + BLOCK, "right")) - 1)
        stop = min(stop, start + ROWS)
        part = weights[start:stop]
        known = np.unique(part.indices)
        pooled = part[:, known] @ gather(history, known)
        moment += pooled.T @ pooled
        start = stop
    return moment


def _blocks(train: Interactions) -> Iterator[slice]:
    """Yield runs of whole users with about :data:`BLOCK` interactions."""
    ends = np.cumsum(train.counts)
    start = 0
    while start < min(len(train), MOST):
        user = min(int(np.searchsorted(ends, start + BLOCK)), len(ends) - 1)
        stop = int(ends[user])
        yield slice(start, stop)
        start = stop


def _decayed(x: Vectors, place: NDArray[np.integer], fade: float) -> Vectors:
    """Sum each row and the faded rows before it, anew where ``place`` is 0; all users at once."""
    starts = np.flatnonzero(place == 0)
    counts = np.diff(np.r_[starts, len(x)])
    order = np.argsort(-counts, kind="stable")
    starts, counts = starts[order], counts[order]
    out = np.empty(x.shape, np.float32)
    state = np.zeros((len(starts), x.shape[1]), np.float32)
    for step in range(int(counts.max(initial=0))):
        active = int(np.searchsorted(-counts, -step))  # users with more than ``step`` rows
        state = state[:active]
        state *= np.float32(fade)
        state += x[starts[:active] + step]
        out[starts[:active] + step] = state
    return out


def _before(x: Vectors, place: NDArray[np.integer]) -> Vectors:
    """Give each row the one before it; zero where ``place`` is 0."""
    out = np.zeros_like(x)
    out[1:] = x[:-1]
    out[place == 0] = 0
    return out
