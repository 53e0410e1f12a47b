"""Closed form: vectors whitened within classes, then stretched along what tells the classes apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.training.threads import eigh
from embedtune.transforms import Identity, Linear
from embedtune.tuners.moments import ROWS, covariance, in_blocks

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DiscriminantTuner:
    """Shrunken linear discriminants as a map of full width.

    Each item is its class's mean and a rest. The map first gives the rests the same spread in every
    direction, as far as ``shrinkage`` lets it; that alone leaves all directions that say nothing of
    the classes as strong as the few that do, and neighbours do not improve. So it then stretches every
    axis by ``sqrt(1 + emphasis * r)``, where r is how much wider the class means are spread along it
    than rests are, beyond what chance would spread them. Directions in which classes do not differ
    stay, which is why the map can be scaled to the identity and carries over to other uses.

    Items with several classes have the sum of a least-squares effect of each; for single classes these
    are the class means.

    References
    ----------
    Fisher 1936 (Annals of Eugenics 7), for many classes Rao 1948. Shrinkage towards the sphere:
    Friedman 1989, Regularized Discriminant Analysis (JASA 84), section 3. Spread of means less that of
    chance, per whitened axis: Ioffe 2006, Probabilistic Linear Discriminant Analysis (ECCV), section 2;
    ours keeps the other axes.
    """

    name: ClassVar[str] = "discriminant"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    needs: ClassVar[str] = "vectors"

    shrinkage: float = 0.4
    """From above 0 (rests become a sphere) to 1 (rests stay)."""
    emphasis: float = 20.0
    """From 0 (only the rests' spread changes)."""

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage <= 1:
            raise UserError(
                f"discriminant: shrinkage is {self.shrinkage}", fix="give a number above 0, at most 1"
            )
        if not self.emphasis >= 0:
            raise UserError(f"discriminant: emphasis is {self.emphasis}", fix="give a number from 0")

    def fit(self, train: LabelledItems, *, seed: int = 0, budget: Budget | None = None) -> Linear | Identity:
        """Solve for the map, (d, d); the identity where there is one class, or one item a class."""
        if not len(train):
            return Identity()
        n, d = train.vectors.shape
        basis = None
        if n > ROWS:
            within, between, total, freedom = _moments(train)
        else:
            x = np.array(train.vectors, np.float64)
            x -= x.mean(axis=0)
            if n < d:  # few items: all that differs lies in few directions
                basis = np.linalg.qr(x.T)[0]
                x = x @ basis
            fitted, freedom = class_effects(x, train)
            rest = x - fitted
            within, between, total = rest.T @ rest, fitted.T @ fitted, np.sum(x * x)
        within /= max(n - 1 - freedom, 1)
        if not freedom or np.trace(within) <= 1e-9 * total / n:
            return Identity()
        whiten = _inverse_root(within, self.shrinkage, np.trace(within) / d)
        spread, axes = eigh(whiten @ (between / n) @ whiten)
        unit = np.sum((whiten @ within) * whiten) / d  # a rest's mean spread along a whitened axis
        ratio = np.maximum(spread / unit - freedom / n, 0)
        solved = (axes * np.sqrt(1 + self.emphasis * ratio)) @ axes.T @ whiten
        if basis is not None:  # across them nothing is known but the sphere that is shrunk towards
            sphere = self.shrinkage**-0.5
            solved = sphere * np.eye(d) + basis @ (solved - sphere * np.eye(len(solved))) @ basis.T
        return Linear.shared(solved.astype(np.float32), normalise=train.cosine)


def class_effects(centred: Matrix, items: LabelledItems) -> tuple[Matrix, float]:
    """Give each item's part that its classes explain, and the degrees of freedom spent on it.

    Parameters
    ----------
    centred : float64 array of shape (n, d)
        Vectors less their mean.
    items : LabelledItems
        The labels are used, not the vectors.

    Returns
    -------
    fitted : float64 array of shape (n, d)
        Least squares of the vectors on the centred class indicators.
    freedom : float
        Rank of the centred indicators; with single classes, one less than the classes.
    """
    labels, share, inverse, freedom = _indicators(items)
    effects = inverse @ (labels.T @ centred)  # (C, d); centred vectors need no centring of the labels
    return labels @ effects - share @ effects, freedom


def _indicators(items: LabelledItems) -> tuple[csr_matrix, Matrix, Matrix, float]:
    """Labels, the share of each class, the inverse of the centred indicators' Gram matrix, and its rank."""
    labels = items.labels.astype(np.float64)
    share = np.asarray(labels.mean(axis=0)).ravel()
    gram = (labels.T @ labels).toarray() - len(items) * np.outer(share, share)
    values, axes = eigh(gram)
    kept = values > 1e-9 * max(values.max(), 1.0)
    inverse = (axes[:, kept] / values[kept]) @ axes[:, kept].T
    return labels, share, inverse, float(np.count_nonzero(kept))


def _moments(items: LabelledItems) -> tuple[Matrix, Matrix, float, float]:
    """Give sums of squares within and between classes, (d, d) each, of all, and the degrees of freedom.

    As from :func:`class_effects`, without an array of the size of the vectors.
    """
    _, share, inverse, freedom = _indicators(items)
    x, n = items.vectors, len(items)
    mean = in_blocks(n, lambda rows: x[rows].sum(axis=0, dtype=np.float64)) / n
    centred = np.asarray(items.labels.T @ x, np.float64) - n * np.outer(share, mean)  # sums of each class
    whole, between = n * covariance(x), centred.T @ inverse @ centred
    return whole - between, between, float(np.trace(whole)), freedom


def _inverse_root(moment: Matrix, shrinkage: float, mean: float) -> Matrix:
    """((1 - shrinkage) * moment / mean + shrinkage)^(-1/2); ``mean`` is that of all eigenvalues."""
    values, axes = eigh(moment)
    values = np.maximum(values, 0) / max(mean, 1e-30)
    return np.asarray((axes * ((1 - shrinkage) * values + shrinkage) ** -0.5) @ axes.T)
