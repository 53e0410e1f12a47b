"""Item deltas: a shift for each document with training queries, that leaves unseen documents their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity, ItemDeltas
from embedtune.tuners.batches import Batches
from embedtune.tuners.linear import typical_product
from embedtune.tuners.passes import steps
from embedtune.tuners.softmax import Batch, softmax_loss, through_unit, to_unit
from embedtune.types import Transform, Vectors


@dataclass(frozen=True, kw_only=True)
class DeltasTuner:
    """Shifts of documents, trained in the same softmax as the documents that have none.

    Moving a document to the mean of its queries (NUDGE) makes it an attractor: it takes queries
    from documents that were never labelled. Here three things hold it back. It competes in one
    loss with all other documents; a step moves it only as far as it is still beaten, and away
    from queries that it takes wrongly; and in every step some of the batch's positives go without
    their shift, so the loss also sees them as new documents.

    References
    ----------
    Zeighami et al. 2024 (arXiv:2409.02343) for moving documents; Volkovs et al. 2017 (DropoutNet,
    NeurIPS) for leaving the shift out.
    """

    name: ClassVar[str] = "deltas"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    drop: float = 0.6
    """Share of the positives of a step that go without their shift; from 0 to below 1."""
    rate: float = 0.5
    """Step size at the start, in units of a document's length; falls to zero in a straight line."""
    passes: int = 8
    """Passes over the training queries."""
    least_steps: int = 80
    """Steps taken at least, so that few labels are fitted too."""
    batch: int = 256
    """Queries a step."""
    hard: int = 8
    """Hard negatives a query, found again every fourth pass."""
    sample: int = 512
    """Random documents a step."""
    scale: float = 20.0
    """Inverse temperature, for vectors of unit length."""

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise UserError(f"deltas: drop is {self.drop}", fix="give a share from 0 to below 1")

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Train the shifts; stops early, and keeps what it has, when the budget ends."""
        rng = np.random.default_rng(seed)
        moved = np.unique(train.pairs[1])  # (m,) documents with training queries
        slot = np.full(len(train.documents), -1, np.int64)
        slot[moved] = np.arange(len(moved))
        shift = np.zeros((len(moved), train.queries.shape[1]), np.float32)
        unit = typical_product(train, rng)
        length = np.float32(1 if train.cosine else unit / np.linalg.norm(train.queries, axis=1).mean() ** 2)

        def shifted(rows: NDArray[np.int64] | slice) -> Vectors:
            z = np.array(train.documents[rows], np.float32)
            has = slot[rows] >= 0
            z[has] += shift[slot[rows][has]]
            return to_unit(z)[0] if train.cosine else z

        batches = Batches(train, size=self.batch, hard=self.hard, sample=self.sample, rng=rng)
        for batch, rate in steps(
            batches,
            passes=self.passes,
            least=self.least_steps,
            rate=self.rate,
            every=4,
            mine=lambda: batches.mine(train.queries, shifted),
            budget=budget or Budget(),
        ):
            active, gradient = self._gradient(train, batch, slot, shift, self.scale / unit, rng)
            shift[slot[batch.columns[active]]] -= rate * gradient * length
        return (
            Identity()
            if not shift.any()
            else ItemDeltas(tuple(train.document_ids[row] for row in moved), shift, normalise=train.cosine)
        )

    def _gradient(
        self,
        train: TuningData,
        batch: Batch,
        slot: NDArray[np.int64],
        shift: Vectors,
        scale: float,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.bool_], Vectors]:
        """Give which columns carried their shift in this step, and each one's gradient times b / scale."""
        positive = np.zeros(len(batch.columns), bool)
        positive[batch.positive[1]] = True
        active = (slot[batch.columns] >= 0) & ~(positive & (rng.random(len(positive)) < self.drop))
        z = np.array(train.documents[batch.columns], np.float32)
        z[active] += shift[slot[batch.columns[active]]]
        norm = None
        if train.cosine:
            z, norm = to_unit(z)
        y = train.queries[batch.queries]
        _, by_pair = softmax_loss(y, z, batch, scale)
        by_z = by_pair[:, active].T @ y
        if norm is not None:
            by_z = through_unit(by_z, z[active], norm[active])
        return active, by_z * np.float32(len(batch.queries) / scale)
