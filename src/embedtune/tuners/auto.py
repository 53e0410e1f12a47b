"""Climb the ladder of methods, judge each out of fold, choose the simplest as good as the best."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.compare import best_mean, randomisation_test, simplest_within_one_error
from embedtune.judging.comparison import Gain
from embedtune.judging.estimate import estimate
from embedtune.judging.folded import Candidate, Folded, OutOfBudget
from embedtune.judging.keeping import Keep
from embedtune.judging.problem import FAR, Problem
from embedtune.judging.slices import Slices, harmed_slice, held_out
from embedtune.training.budget import Budget
from embedtune.transforms import Identity
from embedtune.tuners import TUNERS
from embedtune.tuners.base import Tuner
from embedtune.types import Transform

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25)
"""How far each map is followed from the identity; the identity itself, 0, is the first candidate."""

HARM = 0.05
"""A candidate goes when it loses in a stratum with a p-value below this."""

Ladder = Callable[[Folded, "list[Tried]"], Iterator[Candidate]]
"""Yields a task's candidates from simple to complex, looking at what those before have reached."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """One candidate at one strength, judged out of fold."""

    candidate: Candidate | None
    """None for the base."""
    strength: float
    scores: NDArray[np.float64]
    """Score of every held-out row, (r,)."""
    mean: float
    """Weighted mean over held-out rows."""
    harms: str | None = None
    """The stratum or slice in which it loses, if any."""

    @property
    def name(self) -> str:
        """Name of the method."""
        return "identity" if self.candidate is None else self.candidate.name

    @property
    def followed(self) -> float:
        """How far the map was followed; below ``strength`` where a share of neighbours had to be kept."""
        return 0.0 if self.candidate is None else self.candidate.followed(self.strength)

    @property
    def rung(self) -> int:
        """What it takes to ship it; 0 for the base."""
        return 0 if self.candidate is None else self.candidate.rung


@dataclass(frozen=True)
class Choice:
    """What the ladder found: the choice, and all that was tried."""

    folded: Folded
    tried: list[Tried]
    """Simplest first; the base is the first."""
    harmless: list[Tried]
    """Those that lose in no stratum and no slice; the choice is one of them."""
    chosen: Tried
    stopped: bool
    """Whether the budget ended before the ladder did."""
    refits: bool = True
    """Whether fitting the candidate again is all that training took; False where weights were trained."""
    rivals: Sequence[Tried] = ()
    """What was judged on the same rows, and could not be chosen."""

    @property
    def shown(self) -> Tried:
        """The choice; where that is the base, the best of the others, to say what was refused."""
        if self.chosen.candidate is not None:
            return self.chosen
        others = [t for t in self.harmless if t.candidate] or [t for t in self.tried if t.candidate]
        best = max(others, key=lambda t: t.mean, default=self.chosen)
        aside = self.set_aside
        return best if aside is None or aside.mean <= best.mean else aside

    @property
    def set_aside(self) -> Tried | None:
        """The best that lost in a slice, where it has a better mean than the choice."""
        sliced = [t for t in self.tried if t.harms is not None and t.harms not in self.folded.strata]
        best = max(sliced, key=lambda t: t.mean, default=self.chosen)
        return best if best.mean > self.chosen.mean else None

    @cached_property
    def far(self) -> NDArray[np.float64] | None:
        """Say which held-out rows have labels that rank as by chance under :attr:`shown`; None if unknown."""
        shown, problem = self.shown, self.folded.problem
        if shown.candidate is None or not getattr(problem, "tells_far", False):
            return None
        return np.concatenate(
            [
                problem.evaluate(
                    self.folded.fitted(shown.candidate, shown.strength, i), one.held, one.train, (FAR,)
                )[FAR]
                for i, one in enumerate(self.folded.rounds)
            ]
        )

    def corrected(self, seed: int) -> Gain | None:
        """Gain of :attr:`shown` on new queries, see :func:`~embedtune.judging.estimate.estimate`."""
        shown = self.shown
        if shown.candidate is None:
            return None
        among = self.harmless if shown in self.harmless else self.tried
        rule = simplest_within_one_error([t.rung for t in among]) if shown is self.chosen else best_mean
        scores = [t.scores for t in among]
        return estimate(self.folded, shown.scores, scores, choose=rule, far=self.far, seed=seed)

    def fit(self, seed: int, budget: Budget) -> Transform:
        """Fit :attr:`shown` to all labelled rows, late or not: cut short it is not what was judged."""
        if self.shown.candidate is None:
            return Identity()
        problem = self.folded.problem
        candidate, unlimited = self.shown.candidate, Budget(progress=budget.progress)

        def whole(_: int, __: Budget) -> Transform:
            data = problem.training(problem.everything)
            return candidate.final(data, self.shown.strength, seed, unlimited)

        [(_, fitted)] = self.folded.each(whole, 1, unlimited)
        return fitted


def choose(
    problem: Problem,
    *,
    ladder: Ladder,
    method: str | Tuner,
    metric: str,
    seed: int,
    budget: Budget,
    slices: Slices | None = None,
    keep: Keep | None = None,
) -> Choice:
    """Judge candidates out of fold and choose one; the base is always among them.

    Parameters
    ----------
    problem : Problem
        The labelled rows, without any that will judge the result.
    ladder : callable
        The task's candidates.
    method : str or Tuner
        ``"auto"`` climbs the ladder; a tuner, or the name of one, is tried alone.
    metric : str
        Chosen by its mean over natural traffic, for example ``"ndcg@10"``.
    seed : int
        Seed of folds, samples and resamples.
    budget : Budget
        When to stop. A rung that cannot be finished in time is left out.
    slices : dict of (column, value) to bool array of shape (n,), optional
        Parts of the problem's rows that must not lose either.
    keep : Keep, optional
        What every map has to keep. Each is followed no further before it is judged.
    """
    folded = Folded(problem, metric=metric, seed=seed)
    held = held_out(slices or {}, folded)
    tried = [_judge(folded, None, 1.0, folded.base, held)]
    stopped = False
    climb = ladder(folded, tried) if method == "auto" else _single(method)
    if keep is not None and keep.share >= 1:  # nothing may move
        climb = iter(())
    for candidate in climb if len(folded.row) else ():  # one group of near-duplicates cannot be divided
        candidate.keep = keep
        try:
            folded.run(candidate, budget)
        except OutOfBudget:
            stopped = True
            log.info("out of time while trying %s", candidate.name)
            break
        for strength, scores in zip(candidate.strengths, candidate.scores, strict=True):
            tried.append(_judge(folded, candidate, strength, scores, held))
    harmless = [t for t in tried if t.harms is None]
    chosen = harmless[simplest(folded, harmless)]
    return Choice(folded, tried, harmless, chosen, stopped)


def _single(method: str | Tuner) -> Iterator[Candidate]:
    name, tuner = (method, TUNERS.load(method)()) if isinstance(method, str) else (method.name, method)
    if name != "identity":  # the base is judged anyway
        yield Candidate(name, tuner, STRENGTHS)


def _judge(
    folded: Folded, candidate: Candidate | None, strength: float, scores: NDArray[np.float64], held: Slices
) -> Tried:
    mean = float(np.mean(scores * folded.weight())) if len(scores) else 0.0
    harms = None if candidate is None else harmed(folded, scores) or harmed_slice(folded, scores, held)
    return Tried(candidate, strength, scores, mean, harms)


def harmed(folded: Folded, scores: NDArray[np.float64]) -> str | None:
    """Name the stratum in which the scores are significantly below the base's."""
    for name, rows in folded.strata.items():
        difference = (scores - folded.base)[rows]
        if not len(difference) or difference.mean() >= 0:
            continue
        p_value = randomisation_test(difference, groups=folded.groups[rows], samples=2000, seed=folded.seed)
        if p_value < HARM:
            return name
    return None


def simplest(folded: Folded, tried: list[Tried]) -> int:
    """Row of the simplest candidate within one standard error of the best."""
    if len(tried) == 1:
        return 0
    scores = np.stack([t.scores * folded.weight() for t in tried])
    behind = scores[scores.mean(axis=1).argmax()] - scores
    error = behind.std(axis=1) / np.sqrt(max(len(folded.row) - 1, 1))
    rule = simplest_within_one_error([t.rung for t in tried])
    return int(rule(scores.mean(axis=1)[None], error[None])[0])
