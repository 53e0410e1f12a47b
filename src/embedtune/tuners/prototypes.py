"""A shared map and a prototype for each class, trained by a softmax over the prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.training.threads import one_thread
from embedtune.transforms import Identity, Linear
from embedtune.tuners import moments
from embedtune.tuners.leading import AXES, along_leading, widened
from embedtune.tuners.passes import EvenParts, steps
from embedtune.tuners.softmax import Batch, softmax_loss, through_unit, to_unit
from embedtune.types import Vectors

Matrix = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PrototypesTuner:
    """W = I + A, so that each item lies nearer to its class's prototype than to any other's.

    Prototypes start as the mapped class means and are trained with W; only W is kept. What makes it
    carry over to items that were not trained on is the low ``scale``: it asks for items to be well on
    their class's side, not for classes to shrink to a point, which a matrix can do for the items it
    has seen and for no others. A starts at zero and each gradient is multiplied on both sides by the
    inverse square root of the items' covariance, as in :class:`~embedtune.tuners.linear.LinearTuner`.

    Items without a class, where there are any, have a prototype of their own; an item's classes do not
    compete with each other.

    References
    ----------
    Movshovitz-Attias et al. 2017, No Fuss Distance Metric Learning using Proxies (arXiv:1703.07464),
    section 3; as a softmax of cosines: Zhai and Wu 2019, Classification is a Strong Baseline for Deep
    Metric Learning (arXiv:1811.12649), section 3.1.
    """

    name: ClassVar[str] = "prototypes"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    needs: ClassVar[str] = "vectors"

    scale: float = 10.0
    """Inverse temperature, for vectors of unit length; higher fits the training items more closely."""
    passes: int = 10
    """Passes over the items."""
    least_steps: int = 60
    """Steps taken at least, so that few labels are fitted too."""
    batch: int = 512
    """Items a step, at most."""
    rate: float = 0.3
    """Step size at the start; falls to zero in a straight line."""
    momentum: float = 0.9
    """Share of the last step that goes into the next."""
    floor: float = 0.1
    """Added to each eigenvalue of the covariance, in units of their mean."""
    axes: int = AXES
    """Wider vectors are tuned along so many leading axes alone."""

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise UserError(f"prototypes: scale is {self.scale}", fix="give a number above 0")

    def fit(self, train: LabelledItems, *, seed: int = 0, budget: Budget | None = None) -> Linear | Identity:
        """Train W; stops early, and keeps what it has, when the budget ends."""
        rng = np.random.default_rng(seed)
        classes, axes = along_leading(with_none(train), self.axes)
        if np.count_nonzero(classes.counts) < 2:
            return Identity()
        descent = _Descent(self, classes, axes)
        with one_thread():
            for rows, rate in steps(
                EvenParts(len(train), -(-len(train) // self.batch), rng),
                passes=self.passes,
                least=self.least_steps,
                rate=self.rate,
                budget=budget or Budget(),
            ):
                descent.step(np.sort(rows), rate)
        return descent.transform()


def with_none(items: LabelledItems) -> LabelledItems:
    """Give items without a class one of their own, the last; classes without items go."""
    present = np.flatnonzero(items.counts)
    labels, names = items.labels[:, present], [items.classes[column] for column in present.tolist()]
    bare = (np.diff(labels.indptr) == 0).astype(np.float32)
    if bare.any():
        labels, names = hstack([labels, csr_matrix(bare[:, None])], format="csr"), [*names, ""]
    return LabelledItems(items.vectors, labels, names, items.similarity)


class _Descent:
    """The matrix and the prototypes being trained, and their momenta."""

    def __init__(self, config: PrototypesTuner, items: LabelledItems, axes: Matrix | None = None) -> None:
        self.config, self.items, self.axes = config, items, axes
        x = items.vectors
        d = x.shape[1]
        self.eye = np.eye(d, dtype=np.float32)
        self.residual = np.zeros((d, d), np.float32)
        self.prototypes = self._unit(np.asarray(items.labels.T @ x / items.counts[:, None], np.float32))[0]
        self.momenta = np.zeros_like(self.residual), np.zeros_like(self.prototypes)
        self.whiten = inverse_root(x, config.floor)
        self.length = 1.0 if items.cosine else max(float(np.mean(np.linalg.norm(x, axis=1))), 1e-12)
        self.scale = config.scale / self.length**2

    def _unit(self, x: Vectors) -> tuple[Vectors, Vectors | None]:
        """Give rows at unit length and their lengths, where the similarity is cosine."""
        return to_unit(x) if self.items.cosine else (x, None)

    def gradients(self, rows: NDArray[np.int64]) -> tuple[float, Matrix, Matrix]:
        """Give the loss of some items, and its derivatives by A (d, d) and by the prototypes (C, d)."""
        x, labels = np.asarray(self.items.vectors[rows], np.float32), self.items.labels[rows]
        own = np.diff(labels.indptr)
        positive = np.repeat(np.arange(len(rows)), own), labels.indices.astype(np.int64)
        weight = np.repeat(1 / own, own).astype(np.float32)
        nothing = np.empty(0, np.int64)
        columns = np.arange(len(self.prototypes))
        y, length = self._unit(x @ (self.eye + self.residual).T)
        batch = Batch(rows, columns, positive, weight, (nothing, nothing))
        loss, by_pair = softmax_loss(y, self.prototypes, batch, self.scale)
        by_y = np.asarray(by_pair @ self.prototypes, np.float32)
        by_prototype = np.asarray(by_pair.T @ y, np.float32)
        if length is not None:
            by_y = through_unit(by_y, y, length)
            by_prototype = through_unit(by_prototype, self.prototypes, np.ones((len(columns), 1), np.float32))
        return loss, by_y.T @ x, by_prototype

    def step(self, rows: NDArray[np.int64], rate: float) -> None:
        """Take one step of size ``rate`` against the gradient of the rows' loss."""
        _, by_residual, by_prototype = self.gradients(rows)
        directions = self.whiten @ by_residual @ self.whiten, by_prototype * np.float32(self.length**2)
        for momentum, direction in zip(self.momenta, directions, strict=True):
            momentum *= np.float32(self.config.momentum)
            momentum += direction
        self.residual -= np.float32(rate) * self.momenta[0]
        self.prototypes = self._unit(self.prototypes - np.float32(rate) * self.momenta[1])[0]

    def transform(self) -> Linear | Identity:
        if not self.residual.any():
            return Identity()
        return Linear.shared(widened(self.eye + self.residual, self.axes), normalise=self.items.cosine)


def inverse_root(x: Vectors, floor: float) -> Matrix:
    """(covariance of x / its mean eigenvalue + floor)^(-1/2), (d, d)."""
    return np.ascontiguousarray(moments.inverse_root(moments.covariance(x), floor), np.float32)
