"""The steps of a training run: passes over batches, hard negatives now and then, ever smaller steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from embedtune.tuners.base import Budget
from embedtune.tuners.batches import Batches
from embedtune.tuners.softmax import Batch


def steps(
    batches: Batches,
    *,
    passes: int,
    least: int,
    rate: float,
    every: int,
    mine: Callable[[], None],
    budget: Budget,
    stage: str = "tune",
) -> Iterator[tuple[Batch, float]]:
    """Yield every step's batch and size; ends early when the budget does.

    Parameters
    ----------
    batches : Batches
        Gives the batches of one pass, whenever it is iterated.
    passes, least : int
        Passes, and steps that are taken at least: where few labels make few batches, there are more passes.
    rate : float
        Step size of the first step; falls to zero in a straight line.
    every : int
        Passes after which ``mine`` is called again.
    mine : callable
        Finds hard negatives for the maps as they are.
    budget : Budget
        When to stop, and whom to tell of ``stage``.
    """
    turns = max(passes, -(-least // len(batches))) if passes else 0
    total, done = turns * len(batches), 0
    for turn in range(turns):
        if turn % every == 0:
            mine()
        for batch in batches:
            if budget.left <= 0:
                return
            yield batch, rate * (1 - done / total)
            done += 1
            budget.tell(stage, done, total)
