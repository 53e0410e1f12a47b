"""Residual linear adapters, trained from the identity by preconditioned gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity, Linear
from embedtune.tuners.batches import Batches
from embedtune.tuners.moments import covariance, inverse_root, moment
from embedtune.tuners.passes import steps
from embedtune.tuners.softmax import Batch, softmax_loss, through_unit, to_unit
from embedtune.types import Transform, Vectors

Matrix = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LinearTuner:
    """W = I + A on queries, documents or both, by the softmax over documents.

    Two things make it fast and keep it honest on few labels. A starts at zero, so directions that
    no label speaks of stay as they are. And each gradient is multiplied on both sides by the
    inverse square root of the vectors' second moments: pre-trained vectors fill few directions
    strongly, plain descent would fit those alone, and a full inverse would fit the noise of the
    weak ones. Eight passes then reach more than Adam in thirty, with less loss on documents
    without labels.

    References
    ----------
    Loss: see :func:`~embedtune.tuners.softmax.softmax_loss`. Two-sided preconditioning of a
    matrix gradient: Martens and Grosse 2015 (arXiv:1503.05671, section 3); ours takes the moments
    of the inputs and of the compared vectors once, to the power -1/2, with a floor.
    """

    name: ClassVar[str] = "linear"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    sides: Literal["query", "document", "both", "shared"] = "query"
    """Which side is mapped; ``both`` has a matrix each, ``shared`` one for both."""
    unlabelled: float = 0.0
    """Weight of documents without labels as negatives, from 0 (they are none) to 1 (as all others).

    Such a document is a negative for every training query and a positive for none, so a map that holds
    it away learns to hold away whatever has no labels: good for queries that ask for documents with
    labels again, harmful for all others."""
    rank: int | None = None
    """Rank of A, from 1; None for full rank. Kept by projection after every pass."""
    passes: int = 8
    """Passes over the training queries."""
    least_steps: int = 36
    """Steps taken at least, so that few labels are fitted too."""
    batch: int = 256
    """Queries a step."""
    hard: int = 8
    """Hard negatives a query."""
    every: int = 3
    """Passes after which hard negatives are found again."""
    sample: int = 1024
    """Random documents a step."""
    scale: float = 20.0
    """Inverse temperature, for vectors of unit length."""
    rate: float = 0.6
    """Step size at the start; falls to zero in a straight line."""
    momentum: float = 0.9
    """Share of the last step that goes into the next."""
    coupling: float = 0.6
    """For ``both``: how much of a side's step the other side takes too, from 0 (apart) to 1 (as one).
    What carries over to documents without labels is mostly common to both sides."""
    floor: float = 0.3
    """Added to each eigenvalue of a second moment, in units of their mean."""

    def __post_init__(self) -> None:
        if self.sides not in ("query", "document", "both", "shared"):
            raise UserError(
                f"linear: sides is {self.sides!r}", fix="choose from query, document, both, shared"
            )
        if not 0 <= self.unlabelled <= 1:
            raise UserError(f"linear: unlabelled is {self.unlabelled}", fix="give a weight from 0 to 1")
        if self.rank is not None and self.rank < 1:
            raise UserError(f"linear: rank is {self.rank}", fix="give a whole number from 1, or None")

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Train the residual matrices; stops early, and keeps what it has, when the budget ends."""
        rng = np.random.default_rng(seed)
        if not self.unlabelled:
            train = train.among_labelled()
        descent = _Descent(self, train, rng)
        batches = Batches(
            train,
            size=self.batch,
            hard=self.hard,
            sample=self.sample,
            rng=rng,
            unlabelled=self.unlabelled or 1,
        )

        def mine() -> None:
            batches.mine(
                descent.queries(train.queries), lambda rows: descent.documents(train.documents[rows])
            )

        every_step = steps(
            batches,
            passes=self.passes,
            least=self.least_steps,
            rate=self.rate,
            every=self.every,
            mine=mine,
            budget=budget or Budget(),
        )
        for done, (batch, rate) in enumerate(every_step, 1):
            descent.step(batch, rate)
            if done % len(batches) == 0:
                descent.project(self.rank)
        return descent.transform()


class _Descent:
    """The matrices being trained, their momenta and preconditioners."""

    def __init__(self, config: LinearTuner, train: TuningData, rng: np.random.Generator) -> None:
        self.config, self.train = config, train
        d = train.queries.shape[1]
        self.eye = np.eye(d, dtype=np.float32)
        names = {"both": ("query", "document")}.get(config.sides, (config.sides,))
        self.residual: dict[str, Matrix] = {name: np.zeros((d, d), np.float32) for name in names}
        self.momentum = {name: np.zeros((d, d), np.float32) for name in names}
        rows = np.sort(rng.choice(len(train.documents), min(len(train.documents), 8192), replace=False))
        documents = np.asarray(train.documents[rows], np.float32)
        self.whiten_query = inverse_root(moment(train.queries), config.floor).astype(np.float32)
        self.whiten_document = inverse_root(covariance(documents), config.floor).astype(np.float32)
        self.scale = config.scale / typical_product(train, rng)

    def matrix(self, side: str) -> Matrix | None:
        """W of a side, or None where it is not mapped."""
        residual = self.residual.get(side, self.residual.get("shared"))
        return None if residual is None else self.eye + residual

    def queries(self, x: Vectors) -> Vectors:
        return self._map(x, self.matrix("query"))[0]

    def documents(self, x: Vectors) -> Vectors:
        return self._map(np.asarray(x, np.float32), self.matrix("document"))[0]

    def _map(self, x: Vectors, w: Matrix | None) -> tuple[Vectors, Vectors | None]:
        """Give the mapped rows and, where they were brought to unit length, their lengths (n, 1)."""
        if w is None:
            return x, None
        y = x @ w.T
        if not self.train.cosine:
            return y, None
        return to_unit(y)

    def step(self, batch: Batch, rate: float) -> None:
        """Take one step of size ``rate`` against the gradient of the batch's loss."""
        query, document = self.whiten_query, self.whiten_document
        around = {"query": (document, query), "document": (query, document), "shared": (document, document)}
        moves = {
            name: around[name][0] @ gradient @ around[name][1]
            for name, gradient in self.gradients(batch).items()
        }
        if self.config.sides == "both":
            share = np.float32(self.config.coupling)
            moves = {
                "query": moves["query"] + share * moves["document"],
                "document": moves["document"] + share * moves["query"],
            }
        for name, direction in moves.items():
            self.momentum[name] *= np.float32(self.config.momentum)
            self.momentum[name] += direction
            self.residual[name] -= np.float32(rate) * self.momentum[name]

    def gradients(self, batch: Batch) -> dict[str, Matrix]:
        """Give the derivative of the batch's loss by each residual matrix, (d, d)."""
        x = self.train.queries[batch.queries]
        c = np.asarray(self.train.documents[batch.columns], np.float32)
        y, y_norm = self._map(x, self.matrix("query"))
        z, z_norm = self._map(c, self.matrix("document"))
        _, by_pair = softmax_loss(y, z, batch, self.scale)
        found: dict[str, Matrix] = {}
        if self.matrix("query") is not None:
            by_y = np.asarray(by_pair @ z, np.float32)
            by_y = by_y if y_norm is None else through_unit(by_y, y, y_norm)
            found["query"] = by_y.T @ x
        if self.matrix("document") is not None:
            by_z = np.asarray(by_pair.T @ y, np.float32)
            by_z = by_z if z_norm is None else through_unit(by_z, z, z_norm)
            found["document"] = by_z.T @ c
        if "shared" in self.residual:
            return {"shared": found["query"] + found["document"]}
        return found

    def project(self, rank: int | None) -> None:
        """Bring every residual to the nearest matrix of ``rank`` (Jain et al. 2010, arXiv:0909.5457)."""
        if rank is None:
            return
        for name, residual in self.residual.items():
            u, s, v = np.linalg.svd(residual)
            self.residual[name] = np.ascontiguousarray((u[:, :rank] * s[:rank]) @ v[:rank])

    def transform(self) -> Transform:
        if not any(residual.any() for residual in self.residual.values()):
            return Identity()
        if "shared" in self.residual:
            return Linear.shared(self.eye + self.residual["shared"], normalise=self.train.cosine)
        return Linear(self.matrix("query"), self.matrix("document"), normalise=self.train.cosine)


def typical_product(train: TuningData, rng: np.random.Generator) -> float:
    """Length of a query times that of a document, on average: 1 where the similarity is cosine."""
    if train.cosine:
        return 1.0
    rows = np.sort(rng.choice(len(train.documents), min(len(train.documents), 4096), replace=False))
    lengths = [np.linalg.norm(x, axis=1).mean() for x in (train.queries, train.documents[rows])]
    return float(lengths[0] * lengths[1])
