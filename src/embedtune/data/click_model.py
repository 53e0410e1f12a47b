"""The position-based model of clicks: how often a position is looked at, how attractive a document is.

P(click) = P(position is examined) · P(document attracts): what stands further down is clicked less because
it is looked at less. Fitted by expectation maximisation to counts.

References
----------
Craswell et al. 2008, An Experimental Comparison of Click Position-Bias Models, section 3.2 (the model, there
"examination"); Chuklin, Markov & de Rijke 2015, Click Models for Web Search, section 4.3.2 (the steps);
Joachims, Swaminathan & Schnabel 2017, Unbiased Learning-to-Rank with Biased Feedback, section 4 (weighting by
the inverse propensity); Zhang & Jones 2007, Comparing Click Logs and Editorial Labels for Training Query
Rewriting, section 4 (clicks over expected clicks, which ``attraction`` is where nothing is assumed).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

LOWEST = 1e-3
"""A position is examined at least this often: inverse propensities stay bounded."""

ROUNDS = 1000
"""Rounds of expectation maximisation at most."""

CLOSE = 1e-7
"""Change of every examination below which the rounds end."""


@dataclass(frozen=True)
class ClickModel:
    """What a click log says once position is taken out."""

    examination: Numbers
    """Chance that each position is looked at, against that of the position looked at most, (positions,)."""
    attraction: Numbers
    """Chance that each pair is clicked when looked at, (pairs,)."""
    looks: Numbers
    """How often each pair was looked at, as expected: impressions times examination, (pairs,)."""


def position_based(
    pair: NDArray[np.int64],
    position: NDArray[np.int64],
    clicks: Numbers,
    impressions: Numbers,
    *,
    prior: float = 1.0,
) -> ClickModel:
    """Fit the position-based model.

    It begins with each position's share of clicks, as if the documents of all positions were equally
    attractive; that is also where it stays as far as no document was seen in two positions, since
    such a log cannot tell attraction from position. Pairs seen in several positions correct it.

    Parameters
    ----------
    pair : int array of shape (n,)
        Number of the pair of query and document, from 0.
    position : int array of shape (n,)
        Number of the position, from 0.
    clicks, impressions : float arrays of shape (n,)
        How often the pair was clicked and shown in the position; ``0 <= clicks <= impressions``.
    prior : float
        Looks at the log's mean attraction that are added to each pair's own (empirical Bayes): few
        impressions say little. 0 adds none.

    Returns
    -------
    ClickModel
        ``attraction`` is clicks over expected looks: sum c / sum n theta, the estimate by inverse
        propensities, shrunk by ``prior`` and at most 1.

    Examples
    --------
    One document shown 100 times in each of two positions, clicked 40 and 20 times:

    >>> model = position_based(np.array([0, 0]), np.array([0, 1]), np.array([40.0, 20.0]),
    ...                        np.array([100.0, 100.0]), prior=0)
    >>> model.examination.round(3).tolist(), model.attraction.round(3).tolist()
    ([1.0, 0.5], [0.4])
    """
    pairs, positions = int(pair.max(initial=-1)) + 1, int(position.max(initial=-1)) + 1
    shown = np.maximum(np.bincount(position, impressions, minlength=positions), 1e-12)
    rate = np.bincount(position, clicks, minlength=positions) / shown
    theta = np.clip(rate / max(rate.max(initial=0.0), 1e-12), LOWEST, 1)
    views = np.maximum(np.bincount(pair, impressions, minlength=pairs), 1e-12)
    gamma = _over_looks(pair, clicks, impressions * theta[position], pairs, 0.0)
    # Only the product of the two is known, and a chance of 1 would never change again: begin below it.
    scale = np.clip(np.sqrt(gamma.max(initial=0.0)), LOWEST, 0.95)
    theta, gamma = theta * scale, np.minimum(gamma / scale, 0.95)
    for _ in range(ROUNDS):
        neither = np.maximum(1 - theta[position] * gamma[pair], 1e-12)
        missed = (impressions - clicks) / neither
        looked = clicks + missed * theta[position] * (1 - gamma[pair])
        drawn = clicks + missed * (1 - theta[position]) * gamma[pair]
        before = theta
        theta = np.bincount(position, looked, minlength=positions) / shown
        gamma = np.bincount(pair, drawn, minlength=pairs) / views
        if np.max(np.abs(theta - before), initial=0.0) < CLOSE:
            break
    theta = np.clip(theta / max(theta.max(initial=0.0), 1e-12), LOWEST, 1)
    looks = impressions * theta[position]
    attraction = _over_looks(pair, clicks, looks, pairs, prior)
    seen: Numbers = np.bincount(pair, looks, minlength=pairs).astype(np.float64)
    return ClickModel(theta, attraction, seen)


def _over_looks(
    pair: NDArray[np.int64], clicks: Numbers, looks: Numbers, pairs: int, prior: float
) -> Numbers:
    mean = clicks.sum() / max(looks.sum(), 1e-12)
    own, seen = np.bincount(pair, clicks, minlength=pairs), np.bincount(pair, looks, minlength=pairs)
    estimate: Numbers = np.minimum((own + prior * mean) / np.maximum(seen + prior, 1e-12), 1)
    return estimate
