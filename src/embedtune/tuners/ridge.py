"""Closed form: the linear map that takes queries nearest to their documents, held to the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embedtune.errors import UserError
from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Linear


@dataclass(frozen=True, kw_only=True)
class RidgeTuner:
    """Ridge regression from queries to the mean of their documents, shrunk towards the identity.

    Minimises ``sum_i |W q_i - d_i|^2 + penalty * m * |W - I|^2`` where ``m`` is the mean eigenvalue
    of the queries' second moment, so that one penalty serves any number of labels and any norm.

    References
    ----------
    Hoerl and Kennard 1970, Technometrics 12(1); ours shrinks to the identity in place of zero.
    """

    name: ClassVar[str] = "ridge"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    penalty: float = 10.0
    """Above 0, in units of the mean eigenvalue; 100 hardly moves."""

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise UserError(f"ridge: penalty is {self.penalty}", fix="give a number above 0")

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Linear:
        """Solve for the map of queries, (d, d)."""
        q = train.queries.astype(np.float64)
        d = q.shape[1]
        moment = q.T @ q  # (d, d)
        shrink = self.penalty * np.trace(moment) / d * np.eye(d)
        cross = train.targets().astype(np.float64).T @ q  # (d, d)
        w = np.linalg.solve(moment + shrink, (cross + shrink).T).T
        return Linear(query=np.ascontiguousarray(w, np.float32), normalise=train.cosine)
