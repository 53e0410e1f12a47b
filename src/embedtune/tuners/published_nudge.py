"""NUDGE as published, as tuners: the strongest peer where the same documents are asked for again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity, ItemDeltas
from embedtune.tuners.nudge import Nudged, nudge_m, nudge_n
from embedtune.types import Transform


@dataclass(frozen=True, kw_only=True)
class NudgeN:
    """NUDGE-N: documents turn on the unit sphere; the distance is chosen on a fifth of the queries.

    References
    ----------
    Zeighami, Wellmer and Parameswaran 2024 (arXiv:2409.02343, section 3).
    """

    name: ClassVar[str] = "nudge-n"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"
    unit: ClassVar[bool] = True
    move: ClassVar[Callable[..., Nudged]] = staticmethod(nudge_n)

    validation: float = 0.2
    """Share of the queries on which the distance is chosen."""

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Move every document with training queries; at least five queries are needed to move any."""
        n = len(train.queries)
        order = np.random.default_rng(seed).permutation(n)
        held = max(1, round(self.validation * n))
        if n < 5:
            return Identity()
        chosen, rest = np.sort(order[:held]), np.sort(order[held:])
        moved = self.move(
            train.documents,
            train.queries[rest],
            train.positives[rest],
            train.queries[chosen],
            train.positives[chosen],
        )
        shift = moved.new_vectors - np.asarray(train.documents[moved.moved_rows], np.float32)
        if moved.gamma == 0 or not len(shift):
            return Identity()
        ids = tuple(train.document_ids[row] for row in moved.moved_rows)
        return ItemDeltas(ids, shift, normalise=self.unit and train.cosine)


@dataclass(frozen=True, kw_only=True)
class NudgeM(NudgeN):
    """NUDGE-M: documents move in a straight line; moved vectors no longer have unit length.

    Compare them by inner product: a store that normalises gives other rankings.
    """

    name: ClassVar[str] = "nudge-m"
    unit: ClassVar[bool] = False
    move: ClassVar[Callable[..., Nudged]] = staticmethod(nudge_m)
