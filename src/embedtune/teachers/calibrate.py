"""A teacher's scores to probabilities, by the queries whose documents are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix

from embedtune.teachers.base import Scores, Values

FEWEST = 20
"""Labelled queries below which scores are not calibrated."""

UNCALIBRATED = 4.0
"""Inverse temperature without calibration, in units of the scores' standard deviation inside a query."""

TRUSTED = 0.5
"""Share of the queries that a teacher is thought to know an answer to, where that cannot be seen."""


@dataclass(frozen=True)
class Calibration:
    """How much a teacher is to be believed."""

    sharpness: float
    """Inverse temperature: what scores are multiplied by before the softmax over a query's documents."""
    known: float
    """Share of labelled queries for which a right document is among those that the teacher scored unasked."""
    queries: int = 0
    """Labelled queries that this was seen on; 0 where there were too few, and nothing was."""
    first: float = 0.0
    """Share of those whose highest score is that of a right document."""

    def probabilities(self, scores: Scores) -> Values:
        """Give how probable it is that each pair belongs together, (p,); at most ``known`` a query."""
        return self.known * softmax(scores, self.sharpness)


def softmax(scores: Scores, sharpness: float) -> Values:
    """Give the softmax of each query's scores, (p,)."""
    if not len(scores):
        return np.empty(0)
    starts = scores.starts
    count = np.diff(np.r_[starts, len(scores)])
    top = np.repeat(scores.score[starts], count)  # the highest comes first
    e = np.exp(sharpness * (scores.score - top))
    return np.asarray(e / np.repeat(np.add.reduceat(e, starts), count))


def calibrate(scores: Scores, relevance: csr_matrix) -> Calibration:
    """Find the temperature under which a teacher's scores say how often it is right.

    The probability of the right documents of labelled queries is made as high as one temperature can
    (temperature scaling), so that scores of any unit serve, and a teacher that is often wrong gives flat
    probabilities.

    Parameters
    ----------
    scores : Scores
        Of labelled queries, and perhaps others, which play no part.
    relevance : csr_matrix of shape (queries, documents)
        Grades above 0 of what may be looked at; no test data.

    References
    ----------
    Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv:1706.04599), section 4.2.
    """
    labelled = np.diff(relevance.indptr) > 0
    own = scores.take(labelled[scores.query])
    deviation = _deviation(own if len(own) else scores)
    unknown = Calibration(UNCALIBRATED / deviation, TRUSTED)
    if not len(own):  # scipy refuses to look up nothing
        return unknown
    right = np.asarray(relevance[own.query, own.document]).ravel() > 0
    starts = own.starts
    with_right = np.add.reduceat(right, starts) > 0
    if with_right.sum() < FEWEST:
        return unknown
    found = np.add.reduceat(right & ~own.prompted, starts) > 0
    count = np.diff(np.r_[starts, len(own)])
    fitted = own.take(np.repeat(with_right, count))
    hit = right[np.repeat(with_right, count)]

    def loss(log_sharpness: float) -> float:
        share = softmax(fitted, float(np.exp(log_sharpness)) / deviation)
        return -float(np.mean(np.log(np.add.reduceat(share * hit, fitted.starts) + 1e-12)))

    best = minimize_scalar(loss, bounds=(np.log(0.01), np.log(1000.0)), method="bounded")
    return Calibration(
        float(np.exp(best.x)) / deviation, float(found.mean()), len(starts), float(right[starts].mean())
    )


def _deviation(scores: Scores) -> float:
    """Give the standard deviation of scores from the mean of their query."""
    if not len(scores):
        return 1.0
    starts = scores.starts
    count = np.diff(np.r_[starts, len(scores)])
    mean = np.add.reduceat(scores.score, starts) / count
    spread = float(np.std(scores.score - np.repeat(mean, count)))
    return spread if spread > 0 else 1.0
