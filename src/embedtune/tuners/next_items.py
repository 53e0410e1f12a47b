"""Closed form: the vectors under which items are found, so that a pooled history finds what came next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.transforms.pooling import Pooling
from embedtune.tuners.interactions import Interactions
from embedtune.types import Vectors

BLOCK = 50_000
"""Interactions pooled at a time, in whole users."""

MOST = 2_000_000
"""Interactions learned from, at most: the latest users' are left out."""


def next_item_vectors(
    train: Interactions,
    history: Vectors,
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
    history : float32 array of shape (N, r)
        What each item adds to a history.
    pooling : Pooling
        Its half-life weighs the history; ratings are not used here.
    ahead : float
        Half-life of what follows, in interactions.
    penalty : float
        Above 0.

    Returns
    -------
    float32 array of shape (N, r)
        Zero for items that followed nothing.

    References
    ----------
    Choi et al. 2021, Session-aware Linear Item-Item Models (SLIT, WWW, eq. 11), here in factors and
    with decaying weights, so that it is one ridge regression of r x r.
    """
    rank = history.shape[1]
    moment = np.zeros((rank, rank))
    cross = np.zeros((len(history), rank), np.float32)
    fade = 1.0 if pooling.half_life is None else 0.5 ** (1 / pooling.half_life)
    for rows in _blocks(train):
        place = train.place[rows]
        z = _before(_decayed(history[train.item[rows]], place, fade), place)
        followed = _decayed(z, place, 0.5 ** (1 / ahead))  # row i: the moments that item i followed
        moment += z.T @ z
        n = len(z)
        into = csr_matrix((np.ones(n, np.float32), (train.item[rows], np.arange(n))), (len(history), n))
        cross += into @ followed
    hold = penalty * max(np.trace(moment) / rank, 1e-12)
    return np.linalg.solve(moment + hold * np.eye(rank), cross.T.astype(np.float64)).T.astype(np.float32)


def mixed(first: Vectors, second: Vectors, share: float, pooled: Vectors) -> Vectors:
    """Give ``(1 - share) first + share second``, scaled so that ``pooled`` (n, r) scores alike on both."""
    if share == 0:
        return first
    moment = pooled.T.astype(np.float64) @ pooled
    scale = [max(float(np.sqrt(np.sum((v @ moment) * v))), 1e-12) for v in (first, second)]
    return np.asarray((1 - share) * first + share * scale[0] / scale[1] * second, np.float32)


def _blocks(train: Interactions) -> Iterator[slice]:
    """Yield runs of whole users with about :data:`BLOCK` interactions."""
    ends = np.cumsum(train.counts)
    start = 0
    while start < min(len(train), MOST):
        user = min(int(np.searchsorted(ends, start + BLOCK)), len(ends) - 1)
        stop = int(ends[user])
        yield slice(start, stop)
        start = stop


def _decayed(x: Vectors, place: NDArray[np.int64], fade: float) -> Vectors:
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


def _before(x: Vectors, place: NDArray[np.int64]) -> Vectors:
    """Give each row the one before it; zero where ``place`` is 0."""
    out = np.zeros_like(x)
    out[1:] = x[:-1]
    out[place == 0] = 0
    return out
