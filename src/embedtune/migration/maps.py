"""The maps from one model's vectors to another's, from the simplest to the richest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embedtune.transforms.bridge import Bridge
from embedtune.types import Vectors

ENOUGH = 1000
"""Pairs from which on a hidden layer is tried: fewer are learnt by heart."""


class Fit(Protocol):
    """Fits a bridge from old vectors (n, d) to new ones (n, d')."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    def __call__(self, old: Vectors, new: Vectors, *, normalise: bool, seed: int) -> Bridge:
        """Fit it."""
        ...


@dataclass(frozen=True)
class Procrustes:
    """Rotation (or, where widths differ, a map with orthonormal rows or columns), after centring.

    References
    ----------
    Schönemann 1966, Psychometrika 31(1).
    """

    name: str = "procrustes"

    def __call__(self, old: Vectors, new: Vectors, *, normalise: bool, seed: int) -> Bridge:
        """Fit it."""
        x, y = old.astype(np.float64), new.astype(np.float64)
        centre, target = x.mean(axis=0), y.mean(axis=0)
        u, s, v = np.linalg.svd((y - target).T @ (x - centre), full_matrices=False)
        scale = s.sum() / max(float(np.sum((x - centre) ** 2)), 1e-12)
        matrix = scale * (u @ v)
        return _bridge(matrix, target - matrix @ centre, normalise)


@dataclass(frozen=True)
class Affine:
    """Ridge regression with an offset; of low rank where ``rank`` is given.

    Parameters
    ----------
    penalty : float
        In units of the mean eigenvalue of the centred second moment.
    rank : int, optional
        The fitted values' largest principal directions that are kept: reduced-rank regression.

    References
    ----------
    Hoerl and Kennard 1970, Technometrics 12(1); Izenman 1975, Journal of Multivariate Analysis 5(2),
    section 2, for the reduced rank.
    """

    penalty: float = 0.1
    rank: int | None = None

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return "affine" if self.rank is None else f"affine of rank {self.rank}"

    def __call__(self, old: Vectors, new: Vectors, *, normalise: bool, seed: int) -> Bridge:
        """Fit it."""
        x, y = old.astype(np.float64), new.astype(np.float64)
        centre, target = x.mean(axis=0), y.mean(axis=0)
        x, y = x - centre, y - target
        moment = x.T @ x
        hold = self.penalty * max(float(np.trace(moment)), 1e-12) / len(moment)
        matrix = np.linalg.solve(moment + hold * np.eye(len(moment)), x.T @ y).T
        if self.rank is not None:
            top = np.linalg.eigh(matrix @ moment @ matrix.T)[1][:, -self.rank :]
            matrix = top @ (top.T @ matrix)
        return _bridge(matrix, target - matrix @ centre, normalise)


@dataclass(frozen=True)
class Residual:
    """The affine map, and a hidden layer fitted to what it leaves over.

    Fitted by scikit-learn's ``MLPRegressor`` (Adam, a tenth held out to stop), on whitened targets.
    """

    width: int = 256
    penalty: float = 0.1
    name: str = "affine and a hidden layer"

    def __call__(self, old: Vectors, new: Vectors, *, normalise: bool, seed: int) -> Bridge:
        """Fit it."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        below = Affine(self.penalty)(old, new, normalise=False, seed=seed)
        left = new - below.documents(old)
        scale = max(float(left.std()), 1e-12)
        spread = max(float(old.std()), 1e-12)
        network = MLPRegressor(
            hidden_layer_sizes=(self.width,),
            alpha=1e-3,
            batch_size=min(256, len(old)),
            learning_rate_init=2e-3,
            max_iter=60,
            early_stopping=True,
            n_iter_no_change=4,
            random_state=seed,
        )
        with warnings.catch_warnings():  # the tenth held out decides what is kept, however many passes
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(old / spread, left / scale)
        (into, out), (hidden, bias) = network.coefs_, network.intercepts_
        return Bridge(
            below.matrix,
            (below.bias + scale * bias).astype(np.float32),
            np.ascontiguousarray(into.T / spread, np.float32),
            hidden.astype(np.float32),
            np.ascontiguousarray(scale * out.T, np.float32),
            normalise=normalise,
        )


def candidates(pairs: int, old: int, new: int) -> Iterator[Fit]:
    """Yield what is tried with so many pairs and such widths, from the simplest on."""
    yield Procrustes()
    rank = min(old, new) // 4
    if rank > 1:
        yield Affine(rank=rank)
    yield Affine()
    if pairs >= ENOUGH:
        yield Residual()


def _bridge(matrix: Vectors, bias: Vectors, normalise: bool) -> Bridge:
    return Bridge(np.ascontiguousarray(matrix, np.float32), np.asarray(bias, np.float32), normalise=normalise)
