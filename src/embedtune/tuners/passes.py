"""The steps of a training run: passes over parts of the rows, ever smaller steps, negatives mined anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune.training.budget import Budget

Part = TypeVar("Part", covariant=True)


class Pass(Protocol[Part]):
    """The parts of one pass, whenever it is iterated."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Part]: ...


class EvenParts:
    """Shuffled rows in parts of nearly one size: a last part of two would be noise as loud as a whole one.

    Parameters
    ----------
    rows, parts : int
        How many.
    rng : numpy.random.Generator
        Source of the shuffles, a new one for each pass.
    """

    def __init__(self, rows: int, parts: int, rng: np.random.Generator) -> None:
        self.rows, self.parts, self.rng = rows, parts, rng

    def __len__(self) -> int:
        return self.parts

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        yield from np.array_split(self.rng.permutation(self.rows), self.parts)


def steps(
    batches: Pass[Part],
    *,
    passes: int,
    least: int,
    rate: float,
    budget: Budget,
    mine: Callable[[], None] | None = None,
    every: int = 1,
    stage: str = "tune",
) -> Iterator[tuple[Part, float]]:
    """Yield every step's part and size; ends early when the budget does.

    Parameters
    ----------
    batches : Pass
        Gives the parts of one pass, whenever it is iterated.
    passes, least : int
        Passes, and steps that are taken at least: where few labels make few parts, there are more passes.
    rate : float
        Step size of the first step; falls to zero in a straight line.
    budget : Budget
        When to stop, and whom to tell of ``stage``.
    mine : callable, optional
        Finds hard negatives for the maps as they are.
    every : int
        Passes after which ``mine`` is called again.
    """
    turns = max(passes, -(-least // len(batches))) if passes else 0
    total, done = turns * len(batches), 0
    for turn in range(turns):
        if mine is not None and turn % every == 0:
            mine()
        for batch in batches:
            if budget.left <= 0:
                return
            yield batch, rate * (1 - done / total)
            done += 1
            budget.tell(stage, done, total)
