"""The loss of every trained map: softmax over documents, several positives, known positives masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

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
    """Weight of each positive, (p,); a query's weights add up to 1, or to what the query counts."""
    masked: tuple[Rows, Rows]
    """Positions (query, document) that are no negatives; positives may be among them."""
    shift: NDArray[np.float32] | None = None
    """Logarithm of each document's weight as a negative, (m,); None for ones."""


def softmax_loss(y: Vectors, z: Vectors, batch: Batch, scale: float) -> tuple[float, NDArray[np.float32]]:
    """Mean cross-entropy of each positive against all documents that are not known positives.

    For query i with positives P(i) of weights w and negatives N(i), and s = scale * y_i . z_j::

        loss_i = - sum_{j in P(i)} w_j log( exp(s_ij) / (exp(s_ij) + sum_{k in N(i)} u_k exp(s_ik)) )

    so positives never compete with each other; ``u`` is the weight of a document as a negative.

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
        Derivative of the loss by each inner product: ``by_pair @ z`` is that by the queries,
        ``by_pair.T @ y`` that by the documents.

    References
    ----------
    Multi-positive InfoNCE as in Karpukhin et al. 2020 (arXiv:2004.04906, section 3.2), with the
    positives of a query taken out of each other's denominators.
    """
    rows, cols = batch.positive
    e = np.asarray((y * np.float32(scale)) @ z.T, np.float32)
    own = e[rows, cols]
    if batch.shift is not None:
        e += batch.shift
    e[batch.masked] = -np.inf
    e[rows, cols] = -np.inf
    top = e.max(axis=1)
    top[np.isneginf(top)] = 0  # queries without negatives
    e -= top[:, None]
    np.exp(e, out=e)
    others = e.sum(axis=1)  # at least 1 where there is a negative, else 0
    behind = np.where(others > 0, top + np.log(np.maximum(others, 1)), -np.inf)[rows] - own
    loss = float(batch.weight @ np.logaddexp(np.float32(0), behind)) / len(y)
    pull = batch.weight * expit(behind) * np.float32(scale / len(y))
    share = np.bincount(rows, pull, minlength=len(y)) / np.maximum(others, 1)
    e *= share.astype(np.float32)[:, None]
    e[rows, cols] = -pull
    return loss, e


def to_unit(x: Vectors) -> tuple[Vectors, Vectors]:
    """Give the rows of ``x`` (n, d) at unit length, and the lengths (n, 1) that they had."""
    norm = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x / norm, norm


def through_unit(gradient: Vectors, unit: Vectors, norm: Vectors) -> Vectors:
    """Take a gradient by unit vectors (n, d) back to the vectors of length ``norm`` (n, 1) before."""
    along = np.einsum("ij,ij->i", gradient, unit)[:, None]
    return np.asarray((gradient - along * unit) / norm, np.float32)
