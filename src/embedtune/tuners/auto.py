"""Climb the ladder of methods, judge each out of fold, choose the simplest as good as the best."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.compare import bbc, best_mean, randomisation_test, simplest_within_one_error
from embedtune.judging.comparison import Gain, gain_of
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

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25)
"""How far each map is followed from the identity; the identity itself, 0, is the first candidate."""

DELTA_STRENGTHS = (0.5, 0.75, 1.0, 1.25)
"""The same for shifts of documents."""

HARM = 0.05
"""A candidate goes when it loses in a stratum with a p-value below this."""

REPEATED = 0.05
"""Shifts of documents are tried when at least this share of queries asks for what others ask for."""

HELD_BACK = 0.1
"""Share by which the gain may grow when the folds' held-out labels, a tenth to a fifth, train too."""

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
    """The stratum in which it loses, if any."""

    @property
    def name(self) -> str:
        """Name of the method."""
        return "identity" if self.candidate is None else self.candidate.name

    @property
    def rung(self) -> int:
        """What it takes to ship it; 0 for the base."""
        return 0 if self.candidate is None else self.candidate.rung


@dataclass(frozen=True)
class Choice:
    """What the ladder found: the choice, all that was tried, and what the choice gains out of fold."""

    folded: Folded
    tried: list[Tried]
    """Simplest first; the base is the first."""
    harmless: list[Tried]
    """Those that lose in no stratum; the choice is one of them."""
    chosen: Tried
    stopped: bool
    """Whether the budget ended before the ladder did."""

    def gains(self, of: Tried) -> NDArray[np.float64]:
        """Weighted gain of each held-out row over the base, (r,); its mean is the gain on usual traffic."""
        return np.asarray((of.scores - self.folded.base) * self.folded.weight)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group of the query of each held-out row, (r,)."""
        return np.asarray(self.folded.labelled.groups[self.folded.query])

    @property
    def shown(self) -> Tried:
        """The choice; where that is the base, the best of the others, to say what was refused."""
        if self.chosen.candidate is not None:
            return self.chosen
        others = [t for t in self.harmless if t.candidate] or [t for t in self.tried if t.candidate]
        return max(others, key=lambda t: t.mean, default=self.chosen)

    def corrected(self, seed: int) -> Gain | None:
        """Gain of :attr:`shown` out of fold, corrected for choosing; None where nothing was tried.

        The estimate is bootstrap bias-corrected. The interval is for the gain on as many new queries:
        it spans that of the correction, and the bootstrap interval of the candidate's own gains,
        moved by the same correction and wider by the root of two. Its upper end also allows for
        the labels that each fold had to do without.
        """
        shown = self.shown
        if shown.candidate is None or len(np.unique(self.groups)) < 2:
            return None
        among = self.harmless if shown in self.harmless else self.tried
        rule = simplest_within_one_error([t.rung for t in among]) if shown is self.chosen else best_mean
        weighted = np.stack([t.scores * self.folded.weight for t in among])
        found = bbc(weighted, choose=rule, groups=self.groups, seed=seed)
        own = gain_of(self.gains(shown), self.groups, seed)
        if own is None:
            return None
        shift = min(found.estimate - own.gain, 0.0)
        gain = own.gain + shift
        low = min(gain - (own.gain - own.ci95[0]) * 2**0.5, found.interval.low)
        high = max(gain + (own.ci95[1] - own.gain) * 2**0.5, found.interval.high)
        high += HELD_BACK * max(gain, 0.0)
        below = (1 + np.count_nonzero(found.samples <= 0)) / (1 + len(found.samples))
        return Gain(gain, (low, high), max(own.p_value, min(1.0, 2 * below)), own.n)

    def fit(self, labelled: Labelled, seed: int, budget: Budget) -> Transform:
        """Fit :attr:`shown` to all labelled queries, late or not: cut short it is not what was judged."""
        if self.shown.candidate is None:
            return Identity()
        data = labelled.training(labelled.relevance)
        return self.shown.candidate.final(data, self.shown.strength, seed, Budget(progress=budget.progress))


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
    """
    folded = Folded(labelled, metric=metric, seed=seed)
    tried = [_judge(folded, None, 1.0, folded.base)]
    stopped = False
    ladder = _ladder(folded, tried) if method == "auto" else _single(method)
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
    return Choice(folded, tried, harmless, chosen, stopped)


def _single(method: str) -> Iterator[Candidate]:
    if method != "identity":  # the base is judged anyway
        yield Candidate(method, TUNERS.load(method)(), STRENGTHS)


def _ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield candidates from simple to complex, looking at what those before have reached."""
    yield Candidate("ridge", RidgeTuner(), STRENGTHS)
    query = Candidate("linear (queries)", LinearTuner(sides="query"), STRENGTHS)
    yield query
    if folded.labelled.own is not None:
        yield Candidate("linear (shared)", LinearTuner(sides="shared"), STRENGTHS, rung=2)
        return
    promising = _top(tried).mean > tried[0].mean
    if promising:
        yield Candidate("linear (both)", LinearTuner(sides="both"), STRENGTHS, rung=2)
    if float(np.mean(folded.seen[folded.natural])) < REPEATED:
        return
    yield Candidate("nudge-n", NudgeN(), (0.5, 1.0), rung=2)
    best = max((t for t in tried if "linear" in t.name or t.candidate is None), key=lambda t: t.mean)
    prefix = "" if best.candidate is None else f"{best.name} + "
    for kind, tuner in (("gentle", DeltasTuner()), ("firm", DeltasTuner(drop=0.0, rate=1.0))):
        yield Candidate(
            f"{prefix}deltas ({kind})",
            tuner,
            DELTA_STRENGTHS,
            rung=2,
            below=best.candidate,
            below_strength=best.strength,
        )


def _top(tried: list[Tried]) -> Tried:
    return max(tried, key=lambda t: t.mean)


def _judge(
    folded: Folded, candidate: Candidate | None, strength: float, scores: NDArray[np.float64]
) -> Tried:
    mean = float(np.mean(scores * folded.weight))
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
    """Row of the simplest candidate within one standard error of the best."""
    scores = np.stack([t.scores * folded.weight for t in tried])
    behind = scores[scores.mean(axis=1).argmax()] - scores
    error = behind.std(axis=1) / np.sqrt(max(len(folded.query) - 1, 1))
    rule = simplest_within_one_error([t.rung for t in tried])
    return int(rule(scores.mean(axis=1)[None], error[None])[0])
