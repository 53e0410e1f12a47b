"""The loss of every trained map: softmax over documents, several positives, known positives masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Vectors

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Queries, the documents that they compete over, and who belongs to whom; positions, not rows."""

    queries: Rows
    """Rows of the queries, (b,)."""
    columns: Rows
    """Rows of the documents, (m,), ascending."""
    positive: tuple[Rows, Rows]
    """Positions (query, document) of the positives, (p,) each."""
    weight: NDArray[np.float32]
    """Weight of each positive, (p,); a query's weights add up to 1."""
    masked: tuple[Rows, Rows]
    """Positions (query, document) that are no negatives; positives may be among them."""


def softmax_loss(
    y: Vectors, z: Vectors, batch: Batch, scale: float
) -> tuple[float, NDArray[np.float32], NDArray[np.float32]]:
    """Mean cross-entropy of each positive against all documents that are not known positives.

    For query i with positives P(i) of weights w and negatives N(i), and s = scale * y_i . z_j::

        loss_i = - sum_{j in P(i)} w_j log( exp(s_ij) / (exp(s_ij) + sum_{k in N(i)} exp(s_ik)) )

    so positives never compete with each other.

    Parameters
    ----------
    y : float32 array of shape (b, d)
        Mapped queries; unit length where the similarity is cosine.
    z : float32 array of shape (m, d)
        Mapped documents, likewise.
    batch : Batch
        Positives, weights and masks.
    scale : float
        Inverse temperature.

    Returns
    -------
    loss : float
        Mean over the b queries.
    by_pair : float32 array of shape (b, m)
        Derivative of the loss by each inner product.
    gradient_y : float32 array of shape (b, d)
        Derivative by the mapped queries, before any normalisation is taken into account.

    References
    ----------
    Multi-positive InfoNCE as in Karpukhin et al. 2020 (arXiv:2004.04906, section 3.2), with the
    positives of a query taken out of each other's denominators.
    """
    rows, cols = batch.positive
    e = np.asarray((y * np.float32(scale)) @ z.T, np.float32)
    top = e.max(axis=1, keepdims=True)
    e -= top
    np.exp(e, out=e)
    own = e[rows, cols]
    e[batch.masked] = 0.0
    e[rows, cols] = 0.0
    others = e.sum(axis=1)
    tiny = np.finfo(np.float32).tiny
    both = np.maximum(own + others[rows], tiny)
    loss = -float(batch.weight @ np.log(np.maximum(own, tiny) / both)) / len(y)
    share = np.bincount(rows, batch.weight / both, minlength=len(y)).astype(np.float32)
    e *= (share * np.float32(scale / len(y)))[:, None]
    e[rows, cols] = -batch.weight * (others[rows] / both) * np.float32(scale / len(y))
    return loss, e, np.asarray(e @ z, np.float32)


def through_unit(gradient: Vectors, unit: Vectors, norm: Vectors) -> Vectors:
    """Take a gradient by unit vectors (n, d) back to the vectors of length ``norm`` (n, 1) before."""
    along = np.einsum("ij,ij->i", gradient, unit)[:, None]
    return np.asarray((gradient - along * unit) / norm, np.float32)
