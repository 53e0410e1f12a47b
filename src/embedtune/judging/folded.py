"""Out-of-fold scores: every candidate, at several strengths, on queries that it was not fitted to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedtune.data.splits import folds, seen, seen_share
from embedtune.judging.labelled import Labelled
from embedtune.transforms import Identity, then
from embedtune.tuners.base import Budget, Tuner, TuningData
from embedtune.types import Transform

Scores = NDArray[np.float64]


class OutOfBudget(Exception):
    """The time ended before a candidate had all its folds."""


@dataclass
class Candidate:
    """A tuner on top of another candidate's map, with its out-of-fold scores at each strength."""

    name: str
    tuner: Tuner
    strengths: tuple[float, ...] = (1.0,)
    rung: int = 1
    """What it takes to ship it: 1 maps queries alone, 2 rewrites the stored documents too."""
    below: Candidate | None = None
    """What it is fitted on top of; None for the base itself."""
    below_strength: float = 1.0
    scores: Scores = field(default_factory=lambda: np.empty((0, 0)))
    """(strengths, held-out rows)."""
    fitted: list[Transform] = field(default_factory=list, repr=False)
    """One a fold, at full strength."""

    def fit(self, data: TuningData, below: Transform, seed: int, budget: Budget) -> Transform:
        """Fit the tuner to vectors that ``below`` has mapped."""
        if not isinstance(below, Identity):
            data = TuningData(
                below.queries(data.queries),
                below.documents(np.asarray(data.documents, np.float32), data.document_ids),
                data.positives,
                data.known,
                data.document_ids,
                data.similarity,
                data.negatives,
            )
        return self.tuner.fit(data, seed=seed, budget=budget)

    def final(self, data: TuningData, strength: float, seed: int, budget: Budget) -> Transform:
        """Fit the whole chain to all of ``data`` and scale it."""
        below: Transform = Identity()
        if self.below is not None:
            below = self.below.final(data, self.below_strength, seed, budget)
        return then(below, self.fit(data, below, seed, budget).scaled(strength))


class Folded:
    """The folds of some labelled queries, and the base's scores on what they hold out.

    Attributes
    ----------
    query : int array of shape (r,)
        The labelled query of each held-out row.
    natural : bool array of shape (r,)
        Held out by query: traffic as it comes.
    seen : bool array of shape (r,)
        One of its documents had a training query in that fold.
    base : float array of shape (r,)
        The base's score.
    """

    def __init__(self, labelled: Labelled, *, metric: str, seed: int) -> None:
        self.labelled, self.metric, self.seed = labelled, metric, seed
        self.folds = folds(labelled.relevance, labelled.groups, own=labelled.own, seed=seed)
        held = [np.r_[fold.by_query, fold.by_document] for fold in self.folds]
        self.query = np.concatenate(held)
        self.natural = np.concatenate(
            [np.arange(len(rows)) < len(fold.by_query) for fold, rows in zip(self.folds, held, strict=True)]
        )
        self.seen = np.concatenate(
            [
                seen(labelled.relevance[rows], fold.train) & (labelled.own is None)
                for fold, rows in zip(self.folds, held, strict=True)
            ]
        )
        self._held = held
        self.base = labelled.evaluate(Identity(), (metric,))[metric][self.query]

    @property
    def weight(self) -> Scores:
        """Weight of each held-out row, mean 1: strata in the shares that traffic will have.

        Rows on seen documents are those held out by query; rows on unseen ones are held out either way.
        """
        weight = np.zeros(len(self.query))
        share = self.labelled.seen_share
        if share is None:
            share = 0.0 if self.labelled.own is not None else seen_share(self.labelled.relevance)
        seen_rows, unseen_rows = self.seen & self.natural, ~self.seen
        if not seen_rows.any() or not unseen_rows.any():
            share = float(seen_rows.any())
        for rows, part in ((seen_rows, share), (unseen_rows, 1 - share)):
            if rows.any():
                weight[rows] = part * len(weight) / rows.sum()
        return weight

    def run(self, candidate: Candidate, budget: Budget) -> None:
        """Fit the candidate in every fold and score what the fold holds out.

        Raises
        ------
        OutOfBudget
            When the folds cannot all be done in time, as soon as that is clear.
        """
        inner = Budget(budget.deadline)
        columns, started = [], time.monotonic()
        for i, (fold, rows) in enumerate(zip(self.folds, self._held, strict=True)):
            budget.tell(f"try {candidate.name}", i, len(self.folds))
            below = self._below(candidate, i)
            fitted = candidate.fit(self.labelled.training(fold.train), below, self.seed + i, inner)
            candidate.fitted.append(fitted)
            held = self.labelled.take(rows)
            columns.append(
                [
                    held.evaluate(then(below, fitted.scaled(s)), (self.metric,))[self.metric]
                    for s in candidate.strengths
                ]
            )
            spent = time.monotonic() - started
            if spent / (i + 1) * (len(self.folds) - i - 1) > budget.left:
                raise OutOfBudget(candidate.name)
        budget.tell(f"try {candidate.name}", len(self.folds), len(self.folds))
        candidate.scores = np.concatenate([np.array(column) for column in columns], axis=1)

    def _below(self, candidate: Candidate, fold: int) -> Transform:
        below: Transform = Identity()
        if candidate.below is not None:
            below = then(
                self._below(candidate.below, fold),
                candidate.below.fitted[fold].scaled(candidate.below_strength),
            )
        return below
