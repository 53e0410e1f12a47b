"""Climb the ladder of methods, judge every rung out of fold, and choose the simplest that is as good as the best."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.compare import (
    Corrected,
    bbc,
    bootstrap_interval,
    randomisation_test,
    simplest_within_one_error,
)
from embedtune.judging.folded import Candidate, Folded, OutOfBudget
from embedtune.judging.labelled import Labelled
from embedtune.transforms import Identity
from embedtune.tuners import TUNERS
from embedtune.tuners.base import Budget
from embedtune.tuners.deltas import DeltasTuner
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.published_nudge import NudgeN
from embedtune.tuners.ridge import RidgeTuner
from embedtune.types import Transform

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""How far each map is followed from the identity; the identity itself, 0, is the first candidate."""

HARM = 0.05
"""A candidate goes when it loses in a stratum with a p-value below this."""

REPEATED = 0.05
"""Shifts of documents are tried when at least this share of queries asks for a document that others ask for."""

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
    """Weighted mean over natural traffic."""
    harms: str | None = None
    """The stratum in which it loses, if any."""

    @property
    def name(self) -> str:
        """Name of the method."""
        return "identity" if self.candidate is None else self.candidate.name


@dataclass(frozen=True)
class Choice:
    """What the ladder found: the choice, all that was tried, and what the choice gains out of fold."""

    folded: Folded
    tried: list[Tried]
    """Simplest first; the base is the first."""
    chosen: Tried
    best: Tried
    """The best by mean that is not the base, harmful or not; the base where nothing was tried."""
    corrected: Corrected | None
    """Gain after correction for choosing; None where there was nothing to choose from."""
    stopped: bool
    """Whether the budget ended before the ladder did."""

    def gains(self, of: Tried) -> NDArray[np.float64]:
        """Weighted gain of each natural row over the base, mean = gain on natural traffic."""
        folded = self.folded
        return (of.scores - folded.base)[folded.natural] * folded.weight

    def fit(self, labelled: Labelled, seed: int, budget: Budget) -> Transform:
        """Fit the choice to all labelled queries."""
        if self.chosen.candidate is None:
            return Identity()
        data = labelled.training(labelled.relevance)
        return self.chosen.candidate.final(data, self.chosen.strength, seed, budget)


def choose(labelled: Labelled, *, method: str, metric: str, seed: int, budget: Budget) -> Choice:
    """Judge candidates out of fold and choose one; the base is always among them.

    Parameters
    ----------
    labelled : Labelled
        The labelled queries, without any that will judge the result.
    method : str
        ``"auto"`` climbs the ladder; the name of a tuner tries that one alone.
    metric : str
        Chosen by its mean over natural traffic, for example ``"ndcg@10"``.
    seed : int
        Seed of folds, samples and resamples.
    budget : Budget
        When to stop. A rung that cannot be finished in time is left out.

    References
    ----------
    One-standard-error rule: Breiman et al. 1984, Classification and Regression Trees, section 3.4.3.
    """
    folded = Folded(labelled, metric=metric, seed=seed)
    tried = [_judge(folded, None, 1.0, folded.base)]
    stopped = False
    ladder = _ladder(folded, tried) if method == "auto" else iter([_single(method)])
    for candidate in ladder:
        try:
            folded.run(candidate, budget)
        except OutOfBudget:
            stopped = True
            log.info("out of time while trying %s", candidate.name)
            break
        for strength, scores in zip(candidate.strengths, candidate.scores, strict=True):
            tried.append(_judge(folded, candidate, strength, scores))
    harmless = [t for t in tried if t.harms is None]
    chosen = harmless[_simplest(folded, harmless)]
    best = max(tried[1:], key=lambda t: t.mean, default=tried[0])
    corrected = None
    natural = np.stack([t.scores[folded.natural] * folded.weight for t in harmless])
    groups = labelled.groups[folded.query[folded.natural]]
    if len(harmless) > 1 and len(np.unique(groups)) > 1:
        corrected = bbc(natural, choose=simplest_within_one_error, groups=groups, seed=seed)
    return Choice(folded, tried, chosen, best, corrected, stopped)


def _single(method: str) -> Candidate:
    tuner = TUNERS.load(method)()
    return Candidate(method, tuner, () if method == "identity" else STRENGTHS)


def _ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield candidates from simple to complex, looking at what those before have reached."""
    yield Candidate("ridge", RidgeTuner(), STRENGTHS)
    query = Candidate("linear (queries)", LinearTuner(sides="query"), STRENGTHS)
    yield query
    if folded.labelled.own is not None:
        yield Candidate("linear (shared)", LinearTuner(sides="shared"), STRENGTHS)
        return
    promising = _top(tried).mean > tried[0].mean
    repeated = float(np.mean(folded.seen[folded.natural])) >= REPEATED
    if promising:
        yield Candidate("linear (both)", LinearTuner(sides="both"), STRENGTHS)
    if not repeated:
        return
    yield Candidate("nudge-n", NudgeN(), (0.5, 1.0))
    yield Candidate("deltas", DeltasTuner(rate=0.3, drop=0.25), (0.5, 1.0))
    adapters = [t for t in tried[1:] if t.candidate and t.name.startswith(("linear", "ridge"))]
    best = max(adapters, key=lambda t: t.mean)
    if promising and best.candidate is not None:
        name = f"{best.name} + deltas"
        yield Candidate(name, DeltasTuner(rate=0.1, drop=0.7), (0.5, 1.0), best.candidate, best.strength)


def _top(tried: list[Tried]) -> Tried:
    return max(tried, key=lambda t: t.mean)


def _judge(folded: Folded, candidate: Candidate | None, strength: float, scores: NDArray[np.float64]) -> Tried:
    mean = float(np.mean(scores[folded.natural] * folded.weight))
    harms = None if candidate is None else _harmed(folded, scores)
    return Tried(candidate, strength, scores, mean, harms)


def _harmed(folded: Folded, scores: NDArray[np.float64]) -> str | None:
    """Name the stratum in which the scores are significantly below the base's."""
    groups = folded.labelled.groups[folded.query]
    for name, rows in (("seen", folded.seen), ("unseen", ~folded.seen)):
        difference = (scores - folded.base)[rows]
        if not len(difference) or difference.mean() >= 0:
            continue
        if randomisation_test(difference, groups=groups[rows], samples=2000, seed=folded.seed) < HARM:
            return name
    return None


def _simplest(folded: Folded, tried: list[Tried]) -> int:
    """Row of the simplest candidate within one standard error of the best, on natural traffic."""
    scores = np.stack([t.scores[folded.natural] * folded.weight for t in tried])
    best = scores.mean(axis=1).argmax()
    error = (scores[best] - scores).std(axis=1, ddof=1) / np.sqrt(scores.shape[1]) if scores.shape[1] > 1 else 0
    return int(simplest_within_one_error(scores.mean(axis=1)[None], np.broadcast_to(error, (1, len(scores))))[0])


__all__ = ["Choice", "Tried", "bootstrap_interval", "choose"]
