"""Classes by the vote of the nearest items, how right they are, and how well a class finds its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.search import top_k
from embedtune.training.items import LabelledItems
from embedtune.types import Vectors

Values = NDArray[np.float64]

NEIGHBOURS = 10
"""Items that vote on the classes of another."""

CLOSEST = 1e-6
"""Distances are not taken to be smaller, so that a copy of an item cannot outvote all others by infinity."""

LEAST_SHARE = 1e-6
"""Shares of a smooth vote are not taken to be smaller, so that nothing is impossible."""

_BLOCK = 256
"""Items whose whole ranking is held at a time, at most."""

_HELD = 2**20
"""Places of rankings held at a time where there are more than :data:`_FEW` items; one takes some 40 bytes."""

_FEW = 10_240
"""Items up to which :data:`_BLOCK` rankings are held whatever that takes."""


def vote(
    vectors: Vectors,
    voters: LabelledItems,
    *,
    k: int = NEIGHBOURS,
    exclude: csr_matrix | None = None,
    mapped: Callable[[slice], Vectors] | None = None,
) -> Values:
    """Give each class's share in the votes of the ``k`` nearest voters.

    Parameters
    ----------
    vectors : float32 array of shape (r, d)
        Unit length where the similarity is cosine, as the voters must be.
    voters : LabelledItems
    k : int
        Fewer voters all vote.
    exclude : csr_matrix of shape (r, voters), optional
        Who does not vote for whom.
    mapped : callable, optional
        Gives the vectors of a slice of the voters in place of their own.

    Returns
    -------
    float64 array of shape (r, C)
        A voter has 1 / (1 - cosine) votes, or 1 where vectors are compared by inner product. Shares of
        voters with one class each add up to 1.
    """
    nearest, likeness = top_k(vectors, voters.vectors, k, exclude=exclude, document_map=mapped)
    weight = (nearest >= 0).astype(np.float64)
    if voters.cosine:
        weight /= np.maximum(1 - np.where(nearest >= 0, likeness, 0), CLOSEST)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    rows = np.repeat(np.arange(len(vectors)), nearest.shape[1])
    mix = csr_matrix(
        (weight.ravel(), (rows, np.maximum(nearest, 0).ravel())), shape=(len(vectors), len(voters))
    )
    return np.asarray((mix @ voters.labels.astype(np.float64)).toarray())


@dataclass(frozen=True)
class Voters:
    """Items that all vote, by a softmax of their likeness: a smooth vote of neighbours, with logits."""

    items: LabelledItems
    scale: float = 20.0
    """Inverse temperature, for vectors of unit length."""
    single: bool = True
    """Whether every item has exactly one class."""

    def logits(self, x: Vectors) -> Values:
        """Give each class's logit for each row of ``x`` (n, d), (n, C).

        The logarithm of its share of the votes or, with several classes an item, of the odds.
        """
        found = np.zeros((len(x), len(self.items.classes)))
        labels = self.items.labels.astype(np.float32)
        length = 1.0 if self.items.cosine else float(np.mean(np.linalg.norm(self.items.vectors, axis=1)) ** 2)
        for start in range(0, len(x), _BLOCK):
            rows = slice(start, start + _BLOCK)
            e = np.asarray(x[rows] @ self.items.vectors.T) * np.float32(self.scale / max(length, 1e-12))
            e -= e.max(axis=1, keepdims=True)
            np.exp(e, out=e)
            e /= e.sum(axis=1, keepdims=True)
            found[rows] = (labels.T @ e.T).T
        share = np.clip(found, LEAST_SHARE, 1 - LEAST_SHARE)
        return np.log(share) if self.single else np.log(share) - np.log1p(-share)


def chosen_classes(share: Values, *, single: bool) -> csr_matrix:
    """Give the class of the greatest share, or, with several classes an item, all of at least a half.

    Parameters
    ----------
    share : float64 array of shape (r, C)
    single : bool

    Returns
    -------
    csr_matrix of shape (r, C)
        1 where a class is chosen; ties by the lower column.
    """
    if not single:
        return csr_matrix((share >= 0.5).astype(np.float64))
    rows = np.arange(len(share))
    return csr_matrix((np.ones(len(share)), (rows, share.argmax(axis=1))), shape=share.shape)


def accuracy(predicted: csr_matrix, labels: csr_matrix) -> Values:
    """1 for each row whose set of classes is right, (r,)."""
    hit, size, own = _counts(predicted, labels)
    return np.asarray((hit == size) & (hit == own), np.float64)


def f1(predicted: csr_matrix, labels: csr_matrix) -> Values:
    """F1 of each row's set of classes, (r,); 1 where it is rightly empty."""
    hit, size, own = _counts(predicted, labels)
    return np.asarray(np.where(size + own > 0, 2 * hit / np.maximum(size + own, 1), 1.0), np.float64)


def macro_f1(predicted: csr_matrix, labels: csr_matrix) -> Values:
    """Mean over the classes of their F1, linearised: one value a row, whose mean is the metric.

    A row's value is the metric plus its influence, r times the derivative by the row's weight, so that
    a test or an interval on the values is one on the metric. Classes that are neither present nor
    predicted are left out, as in scikit-learn.

    References
    ----------
    Hampel 1974, The Influence Curve and its Role in Robust Estimation (JASA 69).
    """
    n = labels.shape[0]
    both = labels.astype(np.float64).multiply(predicted).tocsr()
    either = csr_matrix(labels.astype(np.float64) + predicted)  # 2 where both
    total = np.asarray(either.sum(axis=0)).ravel()
    used = np.flatnonzero(total)
    score = 2 * np.asarray(both.sum(axis=0)).ravel()[used] / total[used]
    influence = 2 * (both[:, used] @ (1 / total[used])) - either[:, used] @ (score / total[used])
    if not len(used):
        return np.ones(n)
    return np.asarray(score.mean() + n * influence / len(used), np.float64)


MEASURES: dict[str, Callable[[csr_matrix, csr_matrix], Values]] = {
    "accuracy": accuracy,
    "subset_accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
}
"""What predictions are measured by: (predicted, labels), sparse (r, C) each, to one value a row."""


def average_precision(
    judged: LabelledItems, pool: LabelledItems, exclude: csr_matrix | None = None
) -> Values:
    """Average precision of each item's search for items that share a class with it.

    Parameters
    ----------
    judged, pool : LabelledItems
        Vectors of r and N items, unit length where the similarity is cosine.
    exclude : csr_matrix of shape (r, N), optional
        Pairs taken out of the ranking.

    Returns
    -------
    float64 array of shape (r,)
        0 where the pool has no item with a class of the judged one.
    """
    found = np.zeros(len(judged))
    order_of = np.arange(1, len(pool) + 1, dtype=np.float32)
    block = _BLOCK if len(pool) <= _FEW else max(1, _HELD // len(pool))
    for start in range(0, len(judged), block):
        rows = slice(start, start + block)
        scores = np.asarray(judged.vectors[rows] @ pool.vectors.T)
        relevant = (judged.labels[rows] @ pool.labels.T).toarray() > 0
        if exclude is not None:
            pairs = exclude[rows].tocoo()
            scores[pairs.row, pairs.col], relevant[pairs.row, pairs.col] = -np.inf, False
        ranked = np.take_along_axis(relevant, np.argsort(-scores, axis=1, kind="stable"), axis=1)
        precision = np.cumsum(ranked, axis=1) / order_of
        found[rows] = (precision * ranked).sum(axis=1) / np.maximum(ranked.sum(axis=1), 1)
    return found


def _counts(predicted: csr_matrix, labels: csr_matrix) -> tuple[Values, Values, Values]:
    """Classes rightly predicted, predicted and present of each row, (r,) each."""
    both = labels.astype(np.float64).multiply(predicted)
    return tuple(np.asarray(m.sum(axis=1), np.float64).ravel() for m in (both, predicted, labels))  # type: ignore[return-value]
