"""Another tuner, on the labels that people gave alone: what labels that nobody gave are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity
from embedtune.tuners.base import Tuner
from embedtune.types import Transform


@dataclass(frozen=True)
class OwnLabels:
    """Leaves out queries whose labels were made, by a teacher or otherwise, so that choosing can refuse them.

    Parameters
    ----------
    tuner : Tuner
        What is fitted to the others.
    """

    tuner: Tuner

    name: ClassVar[str] = "own labels"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval",)
    needs: ClassVar[str] = "vectors"

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Fit the tuner; the identity where no query is left."""
        own = train.own()
        return self.tuner.fit(own, seed=seed, budget=budget) if len(own) else Identity()
