"""What every tuner is: training data in, a transform out."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

from embedtune.training.budget import Budget
from embedtune.types import Transform


@runtime_checkable
class Tuner(Protocol):
    """Fits a transform to training data. Never sees test data; same data and seed, same transform."""

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    needs: ClassVar[str]
    """``"vectors"``, or ``"weights"`` for tuners that change the model itself."""

    def fit(self, train: Any, *, seed: int = 0, budget: Budget | None = None) -> Transform:
        """Give the fitted transform, at full strength; ``train`` is what the task's problem gives.

        Several folds are fitted in threads at the same time: a tuner keeps nothing from one fit to the next,
        and draws from a generator of its own, never from a global one.
        """
        ...
