"""Another tuner, on vectors whose strong directions have been weakened first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Linear, then
from embedtune.tuners.base import Tuner
from embedtune.tuners.compress import sampled
from embedtune.tuners.moments import covariance, inverse_root
from embedtune.types import Transform, Vectors


@dataclass(frozen=True)
class Whitened:
    """Whitens both sides in part, by the covariance of the documents, and fits another tuner on that.

    Pre-trained vectors of one field lie in a narrow cone: a few directions, which all its texts share, make
    up most of every similarity and tell nothing apart. Few labels do not undo that everywhere; the
    documents show it without any. Whitening all the way would raise noise to the size of everything else,
    so that this goes a part of the way, and no direction counts for more than the floor allows. A
    fitted linear map and the whitening fold into one matrix a side.

    Parameters
    ----------
    tuner : Tuner
        What is fitted to the whitened vectors.
    power : float
        How far: 0 changes nothing, 1 whitens fully. The vectors are multiplied by (C + floor)^(-power / 2).
    floor : float
        Added to each eigenvalue of the covariance C, in units of their mean.

    References
    ----------
    Su et al. 2021 (arXiv:2103.15316) for whitening sentence vectors; Diera et al. 2024 (arXiv:2411.17538) for
    the floor, in search.
    """

    tuner: Tuner
    power: float = 0.3
    floor: float = 0.1

    name: ClassVar[str] = "whitened"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Fit the tuner to whitened vectors; at full strength the map whitens, then does what was fitted."""
        documents = sampled(train.documents, np.random.default_rng(seed))
        matrix = whitening(documents, self.power, self.floor)
        below = Linear.shared(matrix, normalise=train.cosine)
        return then(below, self.tuner.fit(train.mapped(below), seed=seed, budget=budget))


def whitening(x: Vectors, power: float, floor: float) -> Vectors:
    """Give (covariance / its mean eigenvalue + floor)^(-power / 2) of ``x`` (n, d), as (d, d).

    Symmetric, its mean squared eigenvalue 1. It does not move the mean.
    """
    matrix = inverse_root(covariance(x), floor, power / 2)
    return np.asarray(matrix * (len(matrix) ** 0.5 / np.linalg.norm(matrix)), np.float32)
