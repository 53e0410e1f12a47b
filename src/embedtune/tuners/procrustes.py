"""Closed form: the rotation that takes queries nearest to their documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import polar

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Linear


@dataclass(frozen=True, kw_only=True)
class ProcrustesTuner:
    """Orthogonal map from queries to their documents, held to the identity: angles among queries are kept.

    References
    ----------
    Schönemann 1966, Psychometrika 31(1): the polar factor of the cross moment; ours adds a multiple
    of the identity to it, so that directions without labels do not turn.
    """

    name: ClassVar[str] = "procrustes"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    penalty: float = 1.0
    """Weight of the identity, in units of the mean eigenvalue of the queries' second moment; above 0."""

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise UserError(f"procrustes: penalty is {self.penalty}", fix="give a number above 0")

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Linear:
        """Solve for the rotation of queries, (d, d)."""
        q = train.queries.astype(np.float64)
        d = q.shape[1]
        cross = train.targets().astype(np.float64).T @ q
        cross += self.penalty * np.trace(q.T @ q) / d * np.eye(d)
        return Linear(query=np.ascontiguousarray(polar(cross)[0], np.float32), normalise=train.cosine)
