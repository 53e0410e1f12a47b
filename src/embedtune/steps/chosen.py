"""What is chosen of all that may be tried: a map of vectors, and weights where they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedtune.collect import Collected
from embedtune.data.dataset import Dataset
from embedtune.judging.keeping import Keep
from embedtune.judging.many import HEAD
from embedtune.judging.problem import Problem
from embedtune.judging.slices import Slices
from embedtune.judging.verdict import FEWEST
from embedtune.training.budget import Budget
from embedtune.tuners.auto import Choice, choose
from embedtune.tuners.base import Tuner
from embedtune.tuners.ladders import LADDERS
from embedtune.types import Encoder
from embedtune.weights.asked import Asked, Reached
from embedtune.weights.methods import Method
from embedtune.weights.reach import reach


@dataclass(frozen=True)
class Chosen:
    """The choice, and what it was made on: the base's vectors, or those of tuned weights."""

    encoder: Encoder
    found: Collected
    pool: Problem
    choice: Choice | None = None
    """None where there are too few labels to try anything."""
    before: tuple[Collected, Problem] | None = None
    """``found`` and ``pool`` with the base's vectors, where the others are of tuned weights."""
    note: str | None = None
    """What came of tuning weights, where that was tried."""


def choose_of_all(
    dataset: Dataset,
    encoder: Encoder,
    found: Collected,
    *,
    method: str | Tuner | Method,
    rung: Method | None,
    weights_too: bool,
    metric: str,
    test: str,
    seed: int,
    budget: Budget,
    slices: Slices,
    keep: Keep | None,
    checkpoint: Path | None,
    resume: bool,
) -> Chosen:
    """Choose a map and, where ``rung`` names weights or ``weights_too`` allows them, weights beside it.

    The other parameters are those of :func:`embedtune.fine_tune`, :func:`embedtune.tuners.auto.choose` and
    :class:`embedtune.weights.reach.Asked`.
    """
    if found.labels < FEWEST:
        return Chosen(encoder, found, found.train)
    pool, ladder = found.train.pooled(seed), LADDERS[dataset.task]
    choice = None
    if rung is None and not isinstance(method, Method):
        choice = choose(
            pool,
            ladder=ladder,
            method=method,
            metric=metric,
            seed=seed,
            budget=budget.leaving(HEAD) if dataset.task == "classification" else budget,
            slices=slices,
            keep=keep,
        )
        if not weights_too:
            return Chosen(encoder, found, pool, choice)
    asked = Asked(dataset, encoder, found, pool, ladder, metric, test, seed, budget, checkpoint, resume)
    reached = reach(asked, rung, choice)
    if isinstance(reached, Reached):
        before = (found, pool)
        return Chosen(reached.encoder, reached.found, reached.pool, reached.choice, before, reached.note)
    return Chosen(encoder, found, pool, choice, note=reached)
