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

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from embedtune.types import Vectors

SMALL = 3000
"""Users, or items, up to which the exact decomposition of their Gram matrix is taken."""

PASSES = 3
"""Power iterations of the randomised decomposition of larger data."""

_LEAST = 1e-6
"""Singular values below this share of the largest carry nothing."""


@dataclass(frozen=True)
class Spectrum:
    """The largest singular values of the interactions and the items' singular vectors."""

    values: Vectors
    """(r,), descending."""
    items: Vectors
    """(N, r), orthonormal columns."""

    def factors(self, penalty: float) -> tuple[Vectors, Vectors]:
        """Give EASE's ``u`` and ``v`` of every item, float32 (N, r) each, under ``penalty`` λ."""
        square = self.values.astype(np.float64) ** 2
        u = self.items * np.sqrt(square / (square + penalty)).astype(np.float32)
        leverage = np.einsum("ij,ij->i", u, u)
        return u, u / np.maximum(1 - leverage, 1e-6)[:, None]


def decompose(x: csr_matrix, rank: int, *, seed: int = 0, small: int = SMALL) -> Spectrum:
    """Decompose interactions (users, N) into at most ``rank`` singular values.

    Exact, through the smaller of the two Gram matrices, where that has no more than ``small`` rows; else by
    a randomised range finder (Halko, Martinsson & Tropp 2011, SIAM Review 53(2), algorithm 4.4), whose
    memory is (users + N) x rank.
    """
    rank = max(1, min(rank, *x.shape))
    if min(x.shape) > small:
        _, values, items = randomized_svd(
            x.astype(np.float32), rank, n_iter=PASSES, random_state=seed, flip_sign=True
        )
        return _kept(values, items.T)
    wide = x.shape[0] <= x.shape[1]
    gram = (x @ x.T if wide else x.T @ x).toarray().astype(np.float64)
    square, vectors = np.linalg.eigh(gram)
    values = np.sqrt(np.maximum(square[::-1][:rank], 0))
    vectors = vectors[:, ::-1][:, :rank]
    if not wide:
        return _kept(values, vectors)
    top = max(float(values.max(initial=0)), 1e-30)
    return _kept(values, (x.T @ vectors) / np.maximum(values, _LEAST * top))


def _kept(values: Vectors, items: Vectors) -> Spectrum:
    """Leave out what is zero up to rounding, keep at least one, and fix each vector's sign."""
    keep = values > _LEAST * max(float(values.max(initial=0)), 1e-30)
    keep[:1] = True
    items = np.asarray(items[:, keep], np.float32)
    largest = items[np.abs(items).argmax(axis=0), np.arange(items.shape[1])]
    sign = np.where(largest < 0, -1, 1).astype(np.float32)
    return Spectrum(np.asarray(values[keep], np.float32), np.ascontiguousarray(items * sign))
