"""The base as it is: always a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embedtune.training.budget import Budget
from embedtune.training.retrieval import TuningData
from embedtune.transforms import Identity


@dataclass(frozen=True, kw_only=True)
class IdentityTuner:
    """Change nothing."""

    name: ClassVar[str] = "identity"
    tasks: ClassVar[tuple[str, ...]] = ("retrieval", "classification", "similarity", "recommendation")
    needs: ClassVar[str] = "vectors"

    def fit(self, train: TuningData, *, seed: int = 0, budget: Budget | None = None) -> Identity:
        """Give the identity."""
        return Identity()
