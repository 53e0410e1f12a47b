"""A residual linear map of both sides, trained on the order or the scale of pairs' scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.pairs import ScoredPairs
from embedtune.transforms import Identity, Linear
from embedtune.tuners.moments import covariance, inverse_root
from embedtune.tuners.passes import EvenParts, steps
from embedtune.tuners.softmax import through_unit, to_unit
from embedtune.types import Vectors

Values = NDArray[np.float64]
Loss = Literal["order", "correlation"]


@dataclass(frozen=True, kw_only=True)
class PairLinearTuner:
    """W = I + A on both sides, so that the similarities of mapped pairs go with their scores.

    A starts at zero, and its gradient is multiplied on both sides by the inverse root of the
    vectors' second moment, as in :class:`~embedtune.tuners.linear.LinearTuner`.

    References
    ----------
    Losses: :func:`order_loss`, :func:`correlation_loss`. Preconditioning: Martens and Grosse 2015
    (arXiv:1503.05671, section 3), with powers of -1/2 and a floor.
    """

    name: ClassVar[str] = "pair-linear"
    tasks: ClassVar[tuple[str, ...]] = ("similarity",)
    needs: ClassVar[str] = "vectors"

    loss: Loss = "order"
    """``"order"``: the pair with the higher score shall be the more similar one, every two pairs of a
    batch; ``"correlation"``: 1 less the Pearson correlation in the batch."""
    passes: int = 12
    """Passes over the training pairs."""
    least_steps: int = 60
    """Steps taken at least, so that few pairs are fitted too."""
    batch: int = 256
    """Pairs a step."""
    scale: float = 6.0
    """Of ``"order"``: inverse temperature, for vectors of unit length."""
    rate: float = 4.0
    """Step size at the start; falls to zero in a straight line."""
    momentum: float = 0.9
    """Share of the last step that goes into the next."""
    floor: float = 0.5
    """Added to each eigenvalue of the second moment, in units of their mean."""

    def __post_init__(self) -> None:
        if self.loss not in ("order", "correlation"):
            raise UserError(f"pair-linear: loss is {self.loss!r}", fix="choose from order, correlation")

    def fit(self, train: ScoredPairs, *, seed: int = 0, budget: Budget | None = None) -> Linear | Identity:
        """Train the residual; stops early, and keeps what it has, when the budget ends."""
        rng = np.random.default_rng(seed)
        d = train.left.shape[1]
        residual, momentum = np.zeros((d, d), np.float32), np.zeros((d, d), np.float32)
        whiten = inverse_root(covariance(train.left, train.right), self.floor).astype(np.float32)
        size = 1.0 if train.cosine else float(np.mean(np.einsum("ij,ij->i", train.left, train.left)))
        for rows, rate in steps(
            EvenParts(len(train), max(len(train) // self.batch, 1), rng),
            passes=self.passes,
            least=self.least_steps,
            rate=self.rate,
            budget=budget or Budget(),
        ):
            found = pair_gradient(residual, train, np.sort(rows), self.loss, self.scale / size)[1]
            momentum *= np.float32(self.momentum)
            momentum += whiten @ found @ whiten
            residual -= np.float32(rate) * momentum
        if not residual.any():
            return Identity()
        return Linear.shared(np.eye(d, dtype=np.float32) + residual, normalise=train.cosine)


def pair_gradient(
    residual: Vectors, train: ScoredPairs, rows: NDArray[np.int64], loss: Loss, scale: float
) -> tuple[float, Vectors]:
    """Loss of some pairs under W = I + ``residual``, and its derivative by ``residual``, (d, d)."""
    x, z = train.left[rows], train.right[rows]
    a, b = x + x @ residual.T, z + z @ residual.T
    a_norm = b_norm = None
    if train.cosine:
        (a, a_norm), (b, b_norm) = to_unit(a), to_unit(b)
    similarity = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    if loss == "order":
        value, by_pair = order_loss(similarity, train.score[rows], scale)
    else:
        value, by_pair = correlation_loss(similarity, train.score[rows])
    pull = by_pair.astype(np.float32)[:, None]
    by_a, by_b = pull * b, pull * a
    if a_norm is not None and b_norm is not None:
        by_a, by_b = through_unit(by_a, a, a_norm), through_unit(by_b, b, b_norm)
    return value, np.asarray(by_a.T @ x + by_b.T @ z, np.float32)


def order_loss(similarity: Values, score: Values, scale: float) -> tuple[float, Values]:
    """Logistic loss of every two pairs whose scores differ: the higher score shall be more similar.

    The mean over all i, j with score_i > score_j of ``log(1 + exp(scale (s_j - s_i)))`` over
    ``scale``, and its derivative by each similarity, (n,). 0 where all scores are the same.

    References
    ----------
    CoSENT (Su 2022, and ``CoSENTLoss`` of sentence-transformers) has the log of one sum over all
    i, j; a mean of logs, as in RankNet (Burges et al. 2005, section 3), is less ruled by single pairs.
    """
    above = score[:, None] > score[None]  # (n, n): i is to be more similar than j
    count = int(above.sum())
    if not count:
        return 0.0, np.zeros(len(score))
    behind = scale * (similarity[None] - similarity[:, None])
    value = float(np.logaddexp(0, behind)[above].sum()) / count / scale
    push = np.where(above, 1 / (1 + np.exp(-np.clip(behind, -60, 60))), 0) / count
    return value, np.asarray(push.sum(axis=0) - push.sum(axis=1))


def correlation_loss(similarity: Values, score: Values) -> tuple[float, Values]:
    """1 less the Pearson correlation, and its derivative by each similarity, (n,).

    1 and zeros where either is constant.
    """
    a, b = similarity - similarity.mean(), score - score.mean()
    length_a, length_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if length_a < 1e-12 or length_b < 1e-12:
        return 1.0, np.zeros(len(score))
    a, b = a / length_a, b / length_b
    r = float(a @ b)
    return 1 - r, (r * a - b) / length_a
