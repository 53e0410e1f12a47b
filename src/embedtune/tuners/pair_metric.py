"""Closed form: the symmetric positive form that explains the scores of pairs, held to the identity."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from embedtune.errors import UserError
from embedtune.training.budget import Budget, OutOfTime
from embedtune.training.pairs import ScoredPairs
from embedtune.training.threads import eigh
from embedtune.transforms import Identity, Linear
from embedtune.tuners.moments import ROWS, covariance, in_blocks, inverse_root
from embedtune.types import Vectors

Matrix = NDArray[np.float64]

HALF = ROWS // 2
"""Rows worked on at a time in float64."""


@dataclass(frozen=True, kw_only=True)
class PairMetricTuner:
    """Regression of the scores on products of coordinates; the map is the root of what it finds.

    The similarity of a pair is ``l' M r`` with M symmetric and positive, and the map of both sides
    ``W = M^(1/2)``. With ``M = I + S A S``, S the inverse root of the vectors' second moment, and
    ``t_i`` the score of a pair on the scale of its similarity less that similarity, this minimises::

        sum_i (c + l_i' S A S r_i - t_i)^2 + penalty * f * |A|^2

    over A and c, where f is the mean square of the features, so that one penalty serves any
    number of pairs. It is a ridge regression with d (d + 1) / 2 coefficients, solved exactly (by
    conjugate gradients, without forming the features).

    References
    ----------
    Metric learning as regression on pairs: Kulis 2013, Metric Learning: A Survey, Foundations and
    Trends in Machine Learning 5(4), sections 2.2 and 2.3; ours shrinks to the identity, on whitened
    coordinates. Projection to the positive cone: Higham 1988, Linear Algebra and its Applications 103.
    """

    name: ClassVar[str] = "pair-metric"
    tasks: ClassVar[tuple[str, ...]] = ("similarity",)
    needs: ClassVar[str] = "vectors"

    penalty: float = 3.0
    """Above 0, in units of the mean square of the features; more holds closer to the identity."""
    rank: int | None = None
    """Rank of A, from 1: its eigenvalues of largest size are kept; None for all."""
    floor: float = 1.0
    """Added to each eigenvalue of the second moment, in units of their mean."""

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise UserError(f"pair-metric: penalty is {self.penalty}", fix="give a number above 0")
        if self.rank is not None and self.rank < 1:
            raise UserError(f"pair-metric: rank is {self.rank}", fix="give a whole number from 1, or None")

    def fit(self, train: ScoredPairs, *, seed: int = 0, budget: Budget | None = None) -> Linear | Identity:
        """Solve for the map of both sides, (d, d), symmetric; the identity where scores say nothing."""
        whiten = inverse_root(covariance(train.left, train.right), self.floor)
        target = scores_as_similarities(train)
        if target is None:
            return Identity()
        u, v = (_whitened(x, whiten) for x in (train.left, train.right))
        own = np.einsum("ij,ij->i", train.left, train.right, dtype=np.float64)
        found = _regress(u, v, target - own, self.penalty, budget or Budget())
        if self.rank is not None:
            values, axes = eigh(found)
            kept = np.argsort(-np.abs(values))[: self.rank]
            found = (axes[:, kept] * values[kept]) @ axes[:, kept].T
        root = positive_root(np.eye(len(found)) + whiten @ found @ whiten)
        return Linear.shared(np.ascontiguousarray(root, np.float32), normalise=train.cosine)


def _whitened(x: Vectors, whiten: Matrix) -> Vectors:
    """Give ``x @ whiten`` (n, d) in float32, though it is worked out in float64."""
    out = np.empty((len(x), whiten.shape[1]), np.float32)
    for start in range(0, len(x), HALF):
        out[start : start + HALF] = x[start : start + HALF] @ whiten
    return out


def _regress(u: Vectors, v: Vectors, target: Matrix, penalty: float, budget: Budget) -> Matrix:
    """Ridge regression of ``target`` (n,) on ``u_i' A v_i`` and a constant; gives A, symmetric (d, d).

    What is there when the budget ends has been fitted along the strongest directions.
    """
    d = u.shape[1]

    def forward(a: Matrix) -> Matrix:
        form, found = a.astype(np.float32), np.empty(len(u))
        for start in range(0, len(u), ROWS):
            rows = slice(start, start + ROWS)
            found[rows] = np.einsum("ij,ij->i", u[rows] @ form, v[rows], dtype=np.float64)
        return np.asarray(found - found.mean())

    def backward(residual: Matrix) -> Matrix:
        weight = (residual - residual.mean()).astype(np.float32)[:, None]
        moment = in_blocks(len(u), lambda rows: (u[rows] * weight[rows]).T @ v[rows]).astype(np.float64)
        return np.asarray((moment + moment.T) / 2)

    total = in_blocks(len(u), lambda rows: _squares(u[rows], v[rows]).sum())
    hold = penalty * float(total) / (d * (d + 1))

    def normal(flat: Matrix) -> Matrix:
        a = flat.reshape(d, d)
        a = (a + a.T) / 2
        return np.asarray(backward(forward(a)) + hold * a).ravel()

    operator = LinearOperator((d * d, d * d), matvec=normal, dtype=np.float64)
    so_far = np.zeros(d * d)

    def told(x: Matrix) -> None:
        so_far[:] = x
        budget.check()

    with contextlib.suppress(OutOfTime):
        so_far, _ = cg(operator, backward(target).ravel(), rtol=1e-4, maxiter=300, callback=told)
    found = so_far.reshape(d, d)
    return np.asarray((found + found.T) / 2)


def _squares(u: Vectors, v: Vectors) -> Vectors:
    """Sum of the squared features of each pair, twice, (n,)."""
    return np.asarray(np.sum(u * u, axis=1) * np.sum(v * v, axis=1) + np.einsum("ij,ij->i", u, v) ** 2)


def scores_as_similarities(train: ScoredPairs) -> Matrix | None:
    """Scores (n,) on the scale of the similarities: moved and stretched to fit them best.

    None where scores do not rise with similarity at all, or are all the same.
    """
    own = np.einsum("ij,ij->i", train.left, train.right, dtype=np.float64)
    score = train.score - train.score.mean()
    spread, together = float(np.mean((own - own.mean()) ** 2)), float(np.mean((own - own.mean()) * score))
    if together <= 0 or spread <= 0:
        return None
    return np.asarray(own.mean() + score * (spread / together))


def positive_root(form: Matrix, least: float = 1e-4) -> Matrix:
    """Give the symmetric root of the symmetric ``form`` (d, d), eigenvalues below ``least`` raised to it."""
    values, axes = eigh(form)
    return np.asarray((axes * np.sqrt(np.maximum(values, least))) @ axes.T)
