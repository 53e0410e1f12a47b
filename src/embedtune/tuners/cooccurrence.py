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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.tuners.base import Budget
from embedtune.types import Halves, Vectors

SMALL = 3000
"""Users, or items, up to which the exact decomposition of their Gram matrix is taken."""

PASSES = 3
"""Power iterations of the randomised decomposition of larger data."""

MORE = 10
"""Directions that it follows beyond those that are kept."""

COLUMNS = 32
"""Singular vectors worked on at a time, of all rows."""

BLOCK = 4096
"""Rows worked on at a time, of all singular vectors."""

LARGE = 64 * 2**20
"""Bytes of float32 from which on singular vectors are kept in half precision."""

SCALE = 64.0
"""What singular vectors are multiplied by in half precision, whose small numbers have few digits."""

_LEAST = 1e-6
"""Singular values below this share of the largest carry nothing."""


@dataclass(frozen=True)
class Spectrum:
    """The largest singular values of the interactions and the items' singular vectors."""

    values: Vectors
    """(r,), descending."""
    items: Vectors | Halves
    """(N, r), orthonormal columns; in half precision :data:`SCALE` times those."""

    def rows(self, some: slice | NDArray[np.int64]) -> Vectors:
        """Give the singular vectors' values of some items, float32 (n, r)."""
        found = self.items[some]
        whole = np.asarray(found, np.float32)
        return whole if found.dtype != np.float16 else whole / np.float32(SCALE)

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
    Memory is that of the result, and some columns of it; a result of more than :data:`LARGE` bytes in float32
    is kept in half precision all along, which the factors that are shipped have too.
    """
    rank = max(1, min(rank, *x.shape))
    if min(x.shape) > small:
        return _kept(*_randomised(x.astype(np.float32), rank, seed, budget or Budget()))
    wide = x.shape[0] <= x.shape[1]
    gram = (x @ x.T if wide else x.T @ x).toarray().astype(np.float64)
    square, vectors = np.linalg.eigh(gram)
    values = np.sqrt(np.maximum(square[::-1][:rank], 0))
    vectors = vectors[:, ::-1][:, :rank]
    if not wide:
        return _kept(values, np.array(vectors, np.float32, order="C"))
    least = _LEAST * max(float(values.max(initial=0)), 1e-30)
    items = np.empty((x.shape[1], rank), np.float32)
    for some in _columns(rank):
        items[:, some] = (x.T @ vectors[:, some]) / np.maximum(values[some], least)
    return _kept(values, items)


def _randomised(x: csr_matrix, rank: int, seed: int, budget: Budget) -> tuple[Vectors, Vectors | Halves]:
    """Subspace iteration on ``XᵀX``, in place: values (rank,), items (N, rank)."""
    rng = np.random.default_rng(seed)
    width = min(rank + MORE, *x.shape)
    large = 4 * x.shape[1] * width > LARGE
    q: Any = np.empty((x.shape[1], width), np.float16 if large else np.float32)
    across = x.T.tocsr()
    for some in _columns(width):
        q[:, some] = rng.standard_normal((len(q), some.stop - some.start), np.float32)
    for _ in range(PASSES + 1):
        for some in _columns(width):
            budget.check()
            product = across @ (x @ np.ascontiguousarray(q[:, some], np.float32))
            q[:, some] = _shortened(product) if large else product
        _orthonormalise(q)
    _orthonormalise(q)  # once more, for what rounding left
    inner = np.zeros((width, width))
    for start in range(0, x.shape[0], BLOCK):
        part = _projected(x[start : start + BLOCK], q) if large else x[start : start + BLOCK] @ q
        inner += part.T.astype(np.float64) @ part
    square, turn = np.linalg.eigh(inner)
    turn = turn[:, ::-1][:, :rank].astype(np.float32)
    for start in range(0, len(q), BLOCK):
        q[start : start + BLOCK, :rank] = q[start : start + BLOCK].astype(np.float32, copy=False) @ turn
    return np.sqrt(np.maximum(square[::-1][:rank], 0)), _packed(q, np.arange(width) < rank)


def _shortened(columns: Vectors) -> Vectors:
    """Bring columns to a length that half precision can hold; it plays no part."""
    return np.asarray(columns / np.maximum(np.abs(columns).max(axis=0), np.float32(1e-30)), np.float32)


def _projected(x: csr_matrix, q: Halves) -> Vectors:
    """Give ``x @ q`` in float32, of ``q`` in half precision as :class:`Spectrum` has it."""
    known = np.unique(x.indices)
    total = np.zeros((x.shape[0], q.shape[1]), np.float32)
    for start in range(0, len(known), BLOCK):
        some = known[start : start + BLOCK]
        total += x[:, some] @ q[some].astype(np.float32)
    return np.asarray(total / np.float32(SCALE), np.float32)


def _orthonormalise(q: Vectors | Halves) -> None:
    """Make the columns of ``q`` (N, r) orthonormal in place, by the inverse root of their Gram matrix.

    In half precision they get :data:`SCALE` times that length.
    """
    gram = np.zeros((q.shape[1], q.shape[1]))
    for start in range(0, len(q), BLOCK):
        part = q[start : start + BLOCK].astype(np.float32, copy=False)
        gram += part.T @ part
    size = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    square, axes = np.linalg.eigh(gram / (size[:, None] * size))  # of one length, so only the angles count
    square = np.maximum(square, 1e-7 * square[-1])  # directions that are not there stay small
    turn = ((axes / np.sqrt(square)) / size[:, None]).astype(np.float32)
    if q.dtype == np.float16:
        turn *= np.float32(SCALE)
    for start in range(0, len(q), BLOCK):
        q[start : start + BLOCK] = q[start : start + BLOCK].astype(np.float32, copy=False) @ turn


def _columns(width: int) -> list[slice]:
    return [slice(start, min(start + COLUMNS, width)) for start in range(0, width, COLUMNS)]


def _packed(x: Any, keep: NDArray[np.bool_]) -> Any:
    """Give some columns of ``x`` (N, w), in its own memory, which it must own; it is used up."""
    n, width = len(x), int(keep.sum())
    flat = x.reshape(-1)
    for start in range(0, n, BLOCK):  # what is written never reaches what is still to be read
        part = x[start : start + BLOCK, keep]
        flat[start * width : start * width + part.size] = part.reshape(-1)
    del flat
    x.resize((n, width), refcheck=False)
    return x


def _kept(values: NDArray[np.floating], items: Vectors | Halves) -> Spectrum:
    """Leave out what is zero up to rounding, keep at least one, and fix each vector's sign."""
    keep = values > _LEAST * max(float(values.max(initial=0)), 1e-30)
    keep[:1] = True
    if not keep.all():
        items = _packed(items, keep)
    for column in range(items.shape[1]):
        one = items[:, column]
        if one[np.abs(one).argmax()] < 0:
            one *= -1
    return Spectrum(np.asarray(values[keep], np.float32), items)
