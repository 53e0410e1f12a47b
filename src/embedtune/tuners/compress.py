"""Projections to fewer dimensions that keep what the tuned vectors have learned, without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.training.threads import eigh
from embedtune.transforms import Linear
from embedtune.tuners.batches import Batches
from embedtune.tuners.linear import typical_product
from embedtune.tuners.moments import covariance, inverse_root, moment
from embedtune.tuners.passes import steps
from embedtune.tuners.softmax import Batch, softmax_loss, through_unit, to_unit
from embedtune.types import Vectors

Matrix = NDArray[np.float32]

ROWS = 16_384
"""Rows that second moments are taken from, at most."""


@dataclass(frozen=True, kw_only=True)
class CompressTuner:
    """Two matrices, d -> ``dims``, one a side, that keep the order of the full vectors' scores.

    They start where the inner products of all queries with all documents are kept best, in closed
    form, and are then trained by two losses at once: the softmax of the labels, as the adapters are,
    and the full vectors' own scores, which say what becomes of documents that have no labels.

    References
    ----------
    Start: Eckart and Young 1936, in the metric of both sides' second moments, see :func:`closed_form`.
    Distillation: Hinton, Vinyals and Dean 2015 (arXiv:1503.02531, section 2), over documents.
    """

    name: ClassVar[str] = "compress"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    dims: int
    """Dimensions of the small space."""
    distil: float = 0.3
    """Share of the loss that follows the full vectors' scores; the rest follows the labels."""
    passes: int = 8
    """Passes over the training queries."""
    least_steps: int = 60
    """Steps taken at least, so that few labels are fitted too."""
    batch: int = 256
    """Queries a step."""
    hard: int = 8
    """Hard negatives a query, found again every fourth pass."""
    sample: int = 1024
    """Random documents a step."""
    scale: float = 20.0
    """Inverse temperature, for vectors of unit length."""
    rate: float = 0.3
    """Step size at the start; falls to zero in a straight line."""
    momentum: float = 0.9
    """Share of the last step that goes into the next."""
    floor: float = 0.3
    """Added to each eigenvalue of a second moment, in units of their mean."""
    unlabelled: float = 0.05
    """Weight of documents without labels as negatives of labelled queries, above 0 and up to 1."""

    def __post_init__(self) -> None:
        if self.dims < 1:
            raise UserError(f"compress: dims is {self.dims}", fix="give a whole number from 1")
        if not 0 <= self.distil <= 1:
            raise UserError(f"compress: distil is {self.distil}", fix="give a share from 0 to 1")
        if not 0 < self.unlabelled <= 1:
            raise UserError(
                f"compress: unlabelled is {self.unlabelled}", fix="give a weight above 0, up to 1"
            )

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Linear:
        """Train both matrices on the full (tuned) vectors; stops early when the budget ends.

        Returns
        -------
        Linear
            With two matrices of shape (dims, d); rows come out at unit length where the similarity is cosine.
        """
        rng = np.random.default_rng(seed)
        if not len(train):  # without a query to go by, documents stand for them
            queries = sampled(train.documents, rng)
            return _Descent(self, replace(train, queries=queries), rng).transform()
        descent = _Descent(self, train, rng)
        batches = Batches(
            train,
            size=self.batch,
            hard=self.hard,
            sample=self.sample,
            rng=rng,
            unlabelled=self.unlabelled,
        )

        def mine() -> None:
            batches.mine(
                descent.queries(train.queries), lambda rows: descent.documents(train.documents[rows])
            )

        for batch, rate in steps(
            batches,
            passes=self.passes,
            least=self.least_steps,
            rate=self.rate,
            every=4,
            mine=mine,
            budget=budget or Budget(),
            stage="compress",
        ):
            descent.step(batch, rate)
        return descent.transform()


class _Descent:
    """The two matrices being trained, their momenta and preconditioners."""

    def __init__(self, config: CompressTuner, train: TuningData, rng: np.random.Generator) -> None:
        self.config, self.train = config, train
        width = train.queries.shape[1]
        if config.dims > width:
            raise UserError(
                f"compress: {config.dims} dimensions are more than the {width} that the vectors have",
                fix=f"give a whole number from 1 to {width}",
            )
        documents = sampled(train.documents, rng)
        query, document = moment(train.queries), moment(documents)
        start = closed_form(query, document, config.dims)
        self.matrix = {"query": start[0], "document": start[1]}
        self.momentum = {side: np.zeros_like(w) for side, w in self.matrix.items()}
        self.right = {
            "query": inverse_root(query, config.floor).astype(np.float32),
            "document": inverse_root(document, config.floor).astype(np.float32),
        }
        y, z = self.queries(train.queries), self.documents(documents)
        self.left = {
            "query": inverse_root(covariance(z), config.floor).astype(np.float32),
            "document": inverse_root(moment(y), config.floor).astype(np.float32),
        }
        self.scale = config.scale / typical_product(train, rng)

    def queries(self, x: Vectors) -> Vectors:
        return self._map(x, "query")[0]

    def documents(self, x: Vectors) -> Vectors:
        return self._map(np.asarray(x, np.float32), "document")[0]

    def _map(self, x: Vectors, side: str) -> tuple[Vectors, Vectors | None]:
        """Give the mapped rows and, where they were brought to unit length, their lengths (n, 1)."""
        y = x @ self.matrix[side].T
        return to_unit(y) if self.train.cosine else (y, None)

    def step(self, batch: Batch, rate: float) -> None:
        """Take one step of size ``rate`` against the gradient of the batch's loss."""
        _, found = self.gradients(batch)
        for side, gradient in found.items():
            self.momentum[side] *= np.float32(self.config.momentum)
            self.momentum[side] += self.left[side] @ gradient @ self.right[side]
            size = np.float32(rate)
            self.matrix[side] = self.matrix[side] - size * self.momentum[side]

    def gradients(self, batch: Batch) -> tuple[float, dict[str, Matrix]]:
        """Give the batch's loss and its derivative by each matrix, (dims, d)."""
        x = self.train.queries[batch.queries]
        c = np.asarray(self.train.documents[batch.columns], np.float32)
        y, y_norm = self._map(x, "query")
        z, z_norm = self._map(c, "document")
        share = self.config.distil
        loss, by_pair = softmax_loss(y, z, batch, self.scale)
        by_pair *= np.float32(1 - share)
        if share:
            more, followed = followed_loss(y, z, np.asarray(x @ c.T, np.float32), self.scale)
            loss = (1 - share) * loss + share * more
            by_pair += np.float32(share) * followed
        by_y, by_z = by_pair @ z, by_pair.T @ y
        if y_norm is not None and z_norm is not None:
            by_y, by_z = through_unit(by_y, y, y_norm), through_unit(by_z, z, z_norm)
        found = {"query": by_y.T @ x, "document": by_z.T @ c}
        return loss, {side: np.asarray(gradient, np.float32) for side, gradient in found.items()}

    def transform(self) -> Linear:
        return Linear(self.matrix["query"], self.matrix["document"], normalise=self.train.cosine)


def followed_loss(
    y: Vectors, z: Vectors, full: NDArray[np.float32], scale: float
) -> tuple[float, NDArray[np.float32]]:
    """Cross-entropy of the small vectors' softmax over documents from that of the full scores.

    Parameters
    ----------
    y, z : float32 arrays of shapes (b, r) and (m, r)
        Small queries and documents.
    full : float32 array of shape (b, m)
        Inner products of the full vectors.
    scale : float
        Inverse temperature of both.

    Returns
    -------
    loss : float
        Kullback-Leibler divergence, mean over the b queries: 0 where the small scores are the full ones.
    by_pair : float32 array of shape (b, m)
        Derivative of the loss by each inner product of ``y`` and ``z``.
    """
    wanted, given = (_log_softmax(scores * np.float32(scale)) for scores in (full, y @ z.T))
    target = np.exp(wanted)
    loss = float(np.sum(target * (wanted - given), dtype=np.float64)) / len(y)
    return loss, (np.exp(given) - target) * np.float32(scale / len(y))


def closed_form(
    query: NDArray[np.float64], document: NDArray[np.float64], dims: int
) -> tuple[Matrix, Matrix]:
    """Give the two matrices A, B (dims, d) with least squared error of all scores, before any unit length.

    With second moments Q and D of both sides, the error of ``(A q) . (B d)`` for ``q . d``, squared and
    averaged over all pairs, is ``|| Q^(1/2) (I - A^T B) D^(1/2) ||^2``; the best product of rank ``dims``
    comes from the singular vectors of ``Q^(1/2) D^(1/2)``. Of all pairs with that product the one is
    taken whose B has orthonormal rows: documents then keep their lengths as well as a projection can,
    and bringing them to unit length changes the scores least. With all dimensions nothing changes.
    """
    root_q, back_q = _roots(query)
    root_d, back_d = _roots(document)
    u, s, v = np.linalg.svd(root_q @ root_d)
    a, b = s[:dims, None] * (u[:, :dims].T @ back_q), v[:dims] @ back_d
    axes, change = np.linalg.qr(b.T)  # B = change^T axes^T
    return np.ascontiguousarray(change @ a, np.float32), np.ascontiguousarray(axes.T, np.float32)


def sampled(documents: Vectors, rng: np.random.Generator) -> Vectors:
    """Give up to :data:`ROWS` of the documents, (n, d), as float32."""
    rows = np.sort(rng.choice(len(documents), min(len(documents), ROWS), replace=False))
    return np.asarray(documents[rows], np.float32)


def _log_softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    scores = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)), np.float32)


def _roots(moment: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the square root of a second moment and its inverse, with a small floor for empty directions."""
    values, axes = eigh(moment)
    values = np.maximum(values, 0) + 1e-4 * max(float(values.mean()), 1e-30)
    return (axes * np.sqrt(values)) @ axes.T, (axes / np.sqrt(values)) @ axes.T


def rotation(documents: Vectors, *, turns: int = 30, seed: int = 0) -> Matrix:
    """Give the rotation R, (r, r), after which documents (n, r), centred, are nearest to their signs.

    Turned on both sides, no score changes; but rounding to few levels loses less, as all dimensions
    then vary about alike.

    References
    ----------
    Gong and Lazebnik 2011, Iterative quantization: a Procrustean approach to learning binary codes,
    CVPR, section 3.2.
    """
    rng = np.random.default_rng(seed)
    centred = documents - documents.mean(axis=0)
    turned = np.linalg.qr(rng.standard_normal((documents.shape[1],) * 2))[0].astype(np.float32)
    for _ in range(turns):
        u, _, v = np.linalg.svd(centred.T @ np.sign(centred @ turned))
        turned = np.asarray(u @ v, np.float32)
    return np.ascontiguousarray(turned.T)  # y = x R^T, as in Linear
