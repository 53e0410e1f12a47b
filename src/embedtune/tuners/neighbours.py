"""A shared map under which items find others of their class: neighbourhood components analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.training.threads import one_thread
from embedtune.transforms import Identity, Linear
from embedtune.tuners.leading import AXES, along_leading, widened
from embedtune.tuners.passes import EvenParts, steps
from embedtune.tuners.prototypes import inverse_root, with_none
from embedtune.tuners.softmax import through_unit, to_unit
from embedtune.types import Vectors

Matrix = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NeighboursTuner:
    """W = I + A by the probability that a random neighbour of an item is of its class.

    An item's neighbours are drawn by a softmax of the likeness to all others, itself left out. A class
    may stay in several places: an item has to be near to some of its class, not to all, which is what a
    vote of nearest neighbours asks for, and what prototypes and supervised contrastive learning do not
    allow. Items compete in samples; A starts at zero, and each gradient is multiplied on both sides by
    the inverse square root of the items' covariance.

    References
    ----------
    Goldberger et al. 2004, Neighbourhood Components Analysis (NIPS 17), with cosines in place of
    distances and the logarithm of the probability (their section 2.2), as in Frosst et al. 2019
    (arXiv:1902.01889), equation 1.
    """

    name: ClassVar[str] = "neighbours"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    needs: ClassVar[str] = "vectors"

    scale: float = 20.0
    """Inverse temperature, for vectors of unit length; higher looks at nearer neighbours."""
    passes: int = 6
    """Passes over the items."""
    least_steps: int = 60
    """Steps taken at least, so that few labels are fitted too."""
    batch: int = 256
    """Items a step, at most."""
    sample: int = 512
    """Further items a step that they may find."""
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
            raise UserError(f"neighbours: scale is {self.scale}", fix="give a number above 0")

    def fit(self, train: LabelledItems, *, seed: int = 0, budget: Budget | None = None) -> Linear | Identity:
        """Train W; stops early, and keeps what it has, when the budget ends."""
        rng = np.random.default_rng(seed)
        items, axes = along_leading(with_none(train), self.axes)
        n, d = len(items), items.vectors.shape[1]
        if np.count_nonzero(items.counts) < 2:
            return Identity()
        eye, residual, momentum = np.eye(d, dtype=np.float32), *np.zeros((2, d, d), np.float32)
        whiten = inverse_root(items.vectors, self.floor)
        scale = self.scale / _mean_square(items)
        with one_thread():
            for asked, rate in steps(
                EvenParts(n, -(-n // self.batch), rng),
                passes=self.passes,
                least=self.least_steps,
                rate=self.rate,
                budget=budget or Budget(),
            ):
                others = np.setdiff1d(rng.choice(n, min(self.sample, n), replace=False), asked)
                _, gradient = neighbour_loss(items, asked, others, eye + residual, scale)
                momentum *= np.float32(self.momentum)
                momentum += whiten @ gradient @ whiten
                residual -= np.float32(rate) * momentum
        if not residual.any():
            return Identity()
        return Linear.shared(widened(eye + residual, axes), normalise=train.cosine)


def neighbour_loss(
    items: LabelledItems,
    asked: NDArray[np.int64],
    others: NDArray[np.int64],
    matrix: Matrix,
    scale: float,
) -> tuple[float, Matrix]:
    """Mean negative logarithm of the probability that an item's neighbour shares a class with it.

    Parameters
    ----------
    items : LabelledItems
    asked : int array of shape (b,)
        Items whose neighbours are drawn, from all of ``asked`` and ``others`` but themselves.
    others : int array of shape (m,)
        None of them in ``asked``.
    matrix : float32 array of shape (d, d)
        W; mapped items are brought to unit length where the similarity is cosine.
    scale : float
        Inverse temperature.

    Returns
    -------
    loss : float
        Mean over the asked items; those with nobody of their class count as 0.
    gradient : float32 array of shape (d, d)
        Its derivative by W.
    """
    rows = np.concatenate([asked, others])
    x, b = np.asarray(items.vectors[rows], np.float32), len(asked)
    mapped = x @ matrix.T
    z, length = to_unit(mapped) if items.cosine else (mapped, None)
    same = (items.labels[asked] @ items.labels[rows].T).toarray() > 0
    e = np.float32(scale) * (z[:b] @ z.T)
    own = np.arange(b)
    same[own, own], e[own, own] = False, -np.inf
    e -= e.max(axis=1, keepdims=True)
    np.exp(e, out=e)
    e /= e.sum(axis=1, keepdims=True)  # probability of each neighbour
    right = e * same
    found = right.sum(axis=1)
    has = same.any(axis=1)
    found = np.where(has, np.maximum(found, np.float32(1e-30)), np.float32(1))
    loss = -float(np.log(found).sum()) / b
    by_pair = np.where(has[:, None], e - right / found[:, None], np.float32(0))
    by_pair *= np.float32(scale / b)
    by_z = by_pair.T @ z[:b]
    by_z[:b] += by_pair @ z
    if length is not None:
        by_z = through_unit(by_z, z, length)
    return loss, np.asarray(by_z.T @ x, np.float32)


def _mean_square(items: LabelledItems) -> float:
    """Mean squared length of the vectors: 1 where the similarity is cosine."""
    if items.cosine:
        return 1.0
    x: Vectors = items.vectors
    return max(float(np.mean(np.einsum("ij,ij->i", x, x))), 1e-12)
