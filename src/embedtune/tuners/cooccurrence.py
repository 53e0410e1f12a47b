"""EASE in factors: item-item structure from who chose what, without an items x items matrix.

EASE (Steck 2019, Embarrassingly Shallow Autoencoders, WWW, eq. 8) scores item j for a history x by
``x B`` with ``B_ij = -P_ij / P_jj`` and ``P = (XᵀX + λI)⁻¹``. By Woodbury's identity, with the
singular values ``X = A diag(s) Qᵀ``,

    P = (I - Q diag(w) Qᵀ) / λ,    w = s² / (s² + λ),

so for i ≠ j ``B_ij = u_i · v_j`` with ``u = q √w`` and ``v = u / (1 - |u|²)``. Items of the history are
left out of a ranking, so the diagonal never counts: with all singular values the ranking is that of
EASE itself, and with the largest r it takes N x r numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.mapped import gather, release, scratch
from embedtune.training.budget import Budget
from embedtune.training.threads import eigh
from embedtune.types import Vectors

SMALL = 3000
"""Users, or items, up to which the exact decomposition of their Gram matrix is taken."""

PASSES = 3
"""Power iterations of the randomised decomposition of larger data."""

MORE = 10
"""Directions that it follows beyond those that are kept."""

COLUMNS = 32
"""Singular vectors worked on at a time, of all rows."""

BLOCK = 4096
"""Items worked on at a time, of all singular vectors."""

_LEAST = 1e-6
"""Singular values below this share of the largest carry nothing."""


@dataclass(frozen=True)
class Spectrum:
    """The largest singular values of the interactions and the items' singular vectors."""

    values: Vectors
    """(r,), descending."""
    items: Vectors
    """(N, r), orthonormal columns; :func:`~embedtune.mapped.scratch`."""

    def rows(self, some: slice | NDArray[np.integer]) -> Vectors:
        """Give the singular vectors' values of some items, ascending, (n, r), in memory."""
        if not isinstance(some, slice):
            return gather(self.items, some)
        found = self.items[some].copy()
        release(self.items)
        return found

    def roots(self, penalty: float) -> Vectors:
        """Give √w, what turns singular vectors into EASE's ``u`` under ``penalty`` λ, float32 (r,)."""
        square = self.values.astype(np.float64) ** 2
        return np.asarray(np.sqrt(square / (square + penalty)), np.float32)

    def factors(self, penalty: float) -> tuple[Vectors, Vectors]:
        """Give EASE's ``u`` and ``v`` of every item, float32 (N, r) each."""
        u = self.rows(slice(None)) * self.roots(penalty)
        return u, found(u)


def found(u: Vectors) -> Vectors:
    """Give EASE's ``v`` of some items from their ``u``, float32 (n, r)."""
    leverage = np.einsum("ij,ij->i", u, u)
    return np.asarray(u / np.maximum(1 - leverage, 1e-6)[:, None], np.float32)


def decompose(
    x: csr_matrix, rank: int, *, seed: int = 0, small: int = SMALL, budget: Budget | None = None
) -> Spectrum:
    """Decompose interactions (users, N) into at most ``rank`` singular values.

    Exact, through the smaller of the two Gram matrices, where that has no more than ``small`` rows; else by
    a randomised range finder for ``XᵀX`` (Halko, Martinsson & Tropp 2011, SIAM Review 53(2), algorithm 4.4).
    The result is :func:`~embedtune.mapped.scratch`, and so is what it is made of: memory is that of the
    interactions, and of some columns and rows. Whole rows are let go, as systems map files in large pieces.
    """
    rank = max(1, min(rank, *x.shape))
    if min(x.shape) > small:
        return _randomised(x.astype(np.float32), rank, seed, budget or Budget())
    wide = x.shape[0] <= x.shape[1]
    gram = (x @ x.T if wide else x.T @ x).toarray().astype(np.float64)
    square, vectors = eigh(gram)
    values = np.sqrt(np.maximum(square[::-1][:rank], 0))
    kept = _present(values)
    values, turn = values[kept], vectors[:, ::-1][:, :rank][:, kept]
    if not wide:
        return _spectrum(values, x.shape[1], lambda block: turn[block])
    across = x.T.tocsr()
    turn = turn / np.maximum(values, 1e-30)
    return _spectrum(values, x.shape[1], lambda block: across[block] @ turn)


def _randomised(x: csr_matrix, rank: int, seed: int, budget: Budget) -> Spectrum:
    """Subspace iteration on ``XᵀX``, in place."""
    rng = np.random.default_rng(seed)
    n, width = x.shape[1], min(rank + MORE, *x.shape)
    q, across = scratch((n, width), np.float32), x.T.tocsr()
    for some in _runs(width, COLUMNS):
        _put(q, some, rng.standard_normal((n, some.stop - some.start), np.float32))
    for _ in range(PASSES + 1):
        for some in _runs(width, COLUMNS):
            budget.check()
            _put(q, some, across @ (x @ _columns(q, some)))
        _orthonormalise(q)
    _orthonormalise(q)  # once more, for what rounding left
    inner = np.zeros((width, width))
    for some in _runs(width, COLUMNS):
        budget.check()
        product = across @ (x @ _columns(q, some))
        for block in _runs(n, BLOCK):
            inner[:, some] += q[block].T @ product[block]
            release(q)
    square, turn = eigh((inner + inner.T) / 2)
    values = np.sqrt(np.maximum(square[::-1][:rank], 0))
    kept = _present(values)
    turn = turn[:, ::-1][:, :rank][:, kept].astype(np.float32)

    def turned(block: slice) -> Vectors:
        rows: Vectors = q[block] @ turn
        release(q)
        return rows

    return _spectrum(values[kept], n, turned)


def _columns(q: Vectors, some: slice) -> Vectors:
    """Copy some columns of a mapped table (N, r)."""
    copied = np.empty((len(q), some.stop - some.start), np.float32)
    for block in _runs(len(q), BLOCK):
        copied[block] = q[block, some]
        release(q)
    return copied


def _put(q: Vectors, some: slice, columns: Vectors) -> None:
    """Write some columns of a mapped table (N, r)."""
    for block in _runs(len(q), BLOCK):
        q[block, some] = columns[block]
        release(q)


def _orthonormalise(q: Vectors) -> None:
    """Make the columns of ``q`` (N, r) orthonormal in place, by the inverse root of their Gram matrix."""
    gram = np.zeros((q.shape[1], q.shape[1]))
    for block in _runs(len(q), BLOCK):
        gram += q[block].T @ q[block]
        release(q)
    size = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    square, axes = eigh(gram / (size[:, None] * size))  # of one length, so only the angles count
    square = np.maximum(square, 1e-7 * square[-1])  # directions that are not there stay small
    turn = ((axes / np.sqrt(square)) / size[:, None]).astype(np.float32)
    for block in _runs(len(q), BLOCK):
        q[block] = q[block] @ turn
        release(q)


def _runs(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _present(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Leave out what is zero up to rounding, and keep at least one."""
    kept = values > _LEAST * max(float(values.max(initial=0)), 1e-30)
    kept[:1] = True
    return kept


def _spectrum(
    values: NDArray[np.floating], n: int, rows: Callable[[slice], NDArray[np.floating]]
) -> Spectrum:
    """Write the singular vectors of ``n`` items block by block, each with its largest number positive."""
    items, largest = scratch((n, len(values)), np.float32), np.zeros(len(values), np.float32)
    for block in _runs(n, BLOCK):
        items[block] = part = np.asarray(rows(block), np.float32)
        first = np.take_along_axis(part, np.abs(part).argmax(axis=0)[None], 0)[0]
        largest = np.where(np.abs(first) > np.abs(largest), first, largest)
        release(items)
    sign = np.where(largest < 0, np.float32(-1), np.float32(1))
    for block in _runs(n, BLOCK):
        items[block] *= sign
        release(items)
    return Spectrum(np.asarray(values, np.float32), items)
