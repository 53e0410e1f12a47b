"""Out-of-fold scores: every candidate, at several strengths, on rows that it was not fitted to."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.keeping import Held, Keep
from embedtune.judging.problem import Problem, Rows, Scores
from embedtune.memory import is_limited
from embedtune.training.budget import Budget, OutOfTime
from embedtune.training.threads import MOST, at_once, spread
from embedtune.transforms import Identity, then
from embedtune.tuners.base import Tuner
from embedtune.types import Transform

Mask = NDArray[np.bool_]
T = TypeVar("T")

AT_ONCE = 256 * 2**20
"""Bytes of vectors, a fold's times the folds, up to which several folds are fitted at the same time."""


class OutOfBudget(Exception):
    """The time ended before a candidate had all its folds."""


class Scalable(Protocol):
    """A fitted map, or what stands for one, that is followed at some strength."""

    def scaled(self, strength: float) -> Transform:
        """Give the map at ``strength``."""
        ...


@dataclass(frozen=True)
class Again:
    """A map that is fitted again, to the same, whenever it is asked for."""

    fit: Callable[[], Scalable]

    def scaled(self, strength: float) -> Transform:
        """Give the map at ``strength``."""
        return self.fit().scaled(strength)


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
    fitted: list[Scalable] = field(default_factory=list, repr=False)
    """One a fold, at full strength."""
    keep: Keep | None = field(default=None, repr=False)
    """What every map has to keep; it is followed less far where it does not."""

    def fit(self, data: Any, below: Transform, seed: int, budget: Budget) -> Scalable:
        """Fit the tuner to vectors that ``below`` has mapped."""
        if not len(data):  # a fold that holds out every labelled document leaves nothing to learn from
            return Identity()
        if not isinstance(below, Identity):
            data = data.mapped(below)
        fitted = self.tuner.fit(data, seed=seed, budget=budget)
        return fitted if self.keep is None else self.keep.held(below, fitted)

    def followed(self, strength: float) -> float:
        """Give how far the folds' maps were followed on average where ``strength`` was asked for."""
        far = [one.strength(strength) if isinstance(one, Held) else strength for one in self.fitted]
        return float(np.mean(far)) if far else strength

    def final(self, data: Any, strength: float, seed: int, budget: Budget) -> Transform:
        """Fit the whole chain to all of ``data`` and scale it."""
        below: Transform = Identity()
        if self.below is not None:
            below = self.below.final(data, self.below_strength, seed, budget)
        return then(below, self.fit(data, below, seed, budget).scaled(strength))


@dataclass(frozen=True)
class _Fold:
    """A candidate in one round."""

    fitted: Scalable
    scores: Scores
    """(strengths, held-out rows)."""
    seconds: float
    """That the fit took."""
    late: bool
    """Whether the time ended before the fit did."""


class Folded:
    """The folds of a problem, and the base's scores on what they hold out.

    Attributes
    ----------
    shares : dict of float
        Share of traffic that each stratum has, where that is known.
    row : int array of shape (r,)
        The problem's row behind each held-out row.
    natural : bool array of shape (r,)
        Held out as traffic comes.
    outside : bool array of shape (r,)
        Held out by the user's own split.
    strata : dict of bool arrays of shape (r,)
        Which held-out rows belong to which stratum.
    base : float array of shape (r,)
        The base's score.
    """

    def __init__(self, problem: Problem, *, metric: str, seed: int) -> None:
        self.problem, self.metric, self.seed = problem, metric, seed
        self.rounds, self.shares = problem.rounds(seed), problem.shares()
        self.row: Rows = _joined([one.held for one in self.rounds], np.int64)
        self.natural: Mask = _joined([one.natural for one in self.rounds], bool)
        self.outside: Mask = _joined([np.full(len(one.held), one.outside) for one in self.rounds], bool)
        names = list(dict.fromkeys(name for one in self.rounds for name in one.strata))
        self.strata: dict[str, Mask] = {
            name: _joined([one.strata.get(name, one.natural & False) for one in self.rounds], bool)
            for name in names
        }
        self._large: bool = getattr(problem, "large_maps", False)
        fit = 1 if self._large or is_limited() else AT_ONCE // max(problem.size, 1)
        self._most = min(max(fit, 1), MOST)
        self._last = 0.0  # seconds that a last fit, of what has been tried, takes
        self.base: Scores = _joined([self.score(Identity(), i) for i in range(len(self.rounds))], float)

    @property
    def groups(self) -> Rows:
        """Near-duplicates, and rows of the same origin, share a number, (r,)."""
        return np.asarray(self.problem.groups[self.row])

    def score(self, transform: Transform, i: int) -> Scores:
        """Score a map on what round ``i`` holds out."""
        one = self.rounds[i]
        return self.problem.evaluate(transform, one.held, one.train, (self.metric,))[self.metric]

    def weight(self, among: Mask | None = None) -> Scores:
        """Weight of each held-out row, (r,), mean 1: strata in the shares that traffic will have.

        A stratum is represented by its natural rows where it has any, else by those held out by force.
        Rows outside ``among``, (r,), have no weight, and the mean is over the others.
        """
        among = np.ones(len(self.row), bool) if among is None else among
        if not among.any():
            return np.zeros(len(self.row))
        shares = {name: share for name, share in self.shares.items() if (self.strata[name] & among).any()}
        weight = np.zeros(len(self.row))
        if not shares:
            weight[self.natural & among] = 1.0
            return np.asarray(weight / weight[among].mean())
        total = sum(shares.values()) or 1.0
        for name, share in shares.items():
            rows = self.strata[name] & among
            weight[rows] = share / total * among.sum() / rows.sum()
        return weight

    def run(self, candidate: Candidate, budget: Budget) -> None:
        """Fit the candidate in every fold and score what the fold holds out.

        Raises
        ------
        OutOfBudget
            When the folds cannot all be done in time, as soon as that is clear. Where maps are large, so that
            fits take most of the time, there must be time for the last one too, of all that is known.
        """
        stage, total = f"try {candidate.name}", len(self.rounds)
        deadline = None if budget.deadline is None else budget.deadline - self._last
        started, last = time.monotonic(), 0.0
        found: dict[int, _Fold] = {}
        budget.tell(stage, 0, total)
        with closing(self.each(partial(self._fold, candidate), total, Budget(deadline))) as folds:
            for i, fold in folds:
                found[i] = fold
                budget.tell(stage, len(found), total)
                done = max(len(found), at_once(total, self._most))  # counting those under way
                spent, left = time.monotonic() - started, total - len(found)
                last = sum(one.seconds for one in found.values()) / len(found) if self._large else 0.0
                if fold.late or (left and spent / done * left + last > budget.left):
                    raise OutOfBudget(candidate.name)
        self._last = max(self._last, last)
        candidate.fitted = [found[i].fitted for i in range(total)]
        candidate.scores = np.concatenate([found[i].scores for i in range(total)], axis=1)

    def each(self, job: Callable[[int, Budget], T], count: int, budget: Budget) -> Generator[tuple[int, T]]:
        """Do the jobs 0 to ``count``, fits of this problem, and give each number and result once it is there.

        Several at the same time, unless they need much memory: :func:`~embedtune.training.threads.spread`.
        """
        if self._most == 1:
            return ((i, job(i, Budget(budget.deadline))) for i in range(count))
        return spread(job, count, budget, self._most)

    def _fold(self, candidate: Candidate, i: int, budget: Budget) -> _Fold:
        """Fit the candidate in round ``i`` and score what that holds out."""
        below, started = self._below(candidate, i), time.monotonic()
        try:
            fitted = candidate.fit(self.problem.training(self.rounds[i].train), below, self.seed + i, budget)
        except OutOfTime:
            raise OutOfBudget(candidate.name) from None
        seconds, late = time.monotonic() - started, budget.left <= 0
        scores = np.array([self.score(then(below, fitted.scaled(s)), i) for s in candidate.strengths])
        again = self._large and candidate.keep is None
        return _Fold(self._again(candidate, i) if again else fitted, scores, seconds, late)

    def _again(self, candidate: Candidate, i: int) -> Again:
        """Stand for a map that is too large to be kept."""

        def fit() -> Scalable:
            data = self.problem.training(self.rounds[i].train)
            return candidate.fit(data, self._below(candidate, i), self.seed + i, Budget())

        return Again(fit)

    def fitted(self, candidate: Candidate, strength: float, i: int) -> Transform:
        """Give the whole chain that round ``i`` fitted, scaled."""
        return then(self._below(candidate, i), candidate.fitted[i].scaled(strength))

    def _below(self, candidate: Candidate, i: int) -> Transform:
        if candidate.below is None:
            return Identity()
        return self.fitted(candidate.below, candidate.below_strength, i)


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)
