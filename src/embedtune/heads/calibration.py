"""From logits to probabilities that are as often right as they say, and to what is sure enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

Values = NDArray[np.float64]

POINTS = 200
"""Points of the curve of accuracy by confidence that are kept, at most."""

MARGIN = 0.05
"""Above 0: thresholds of a class's probability, where items have several classes, are looked for from here to
1 less this."""


def probabilities(logits: Values, temperature: float, single: bool) -> Values:
    """Give softmax or, with several classes an item, sigmoid of the logits (n, C) over the temperature."""
    scaled = logits / temperature
    return np.asarray(softmax(scaled, axis=1) if single else expit(scaled))


def confidence(p: Values, single: bool, threshold: float = 0.5) -> Values:
    """How sure a prediction is, (n,): the greatest probability, or that of the least certain decision."""
    if single:
        return np.asarray(p.max(axis=1))
    return np.asarray(np.where(p >= threshold, p, 1 - p).min(axis=1))


def fit_temperature(logits: Values, own: NDArray[np.bool_], *, single: bool) -> tuple[float, float]:
    """Find the temperature of the least log loss.

    Parameters
    ----------
    logits : float64 array of shape (n, C)
        Of items that were not trained on.
    own : bool array of shape (n, C)
        The classes of each.
    single : bool

    Returns
    -------
    temperature : float
        Between 1/20 and 20.
    loss : float
        Mean log loss at it.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if single:
            return -float(log_softmax(scaled, axis=1)[own].mean())
        return -float(np.where(own, log_expit(scaled), log_expit(-scaled)).mean())

    found = minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


def accuracy_curve(sure: Values, right: NDArray[np.bool_], points: int = POINTS) -> Values:
    """Accuracy of all predictions of at least a confidence, by confidence.

    Parameters
    ----------
    sure : float64 array of shape (n,)
        Confidence of each prediction, out of fold.
    right : bool array of shape (n,)
    points : int
        At most so many, evenly over the predictions.

    Returns
    -------
    float64 array of shape (2, p)
        Confidence, falling, and accuracy with one further error counted: (right) / (answered + 1).
        Predictions of equal confidence are answered together.
    """
    order = np.argsort(-sure, kind="stable")
    level, hits = sure[order], np.cumsum(right[order])
    ends = np.flatnonzero(np.r_[level[1:] < level[:-1], True]) if len(level) else np.empty(0, np.int64)
    kept = ends[np.unique(np.linspace(0, len(ends) - 1, points).round().astype(int))] if len(ends) else ends
    return np.stack([level[kept], hits[kept] / (kept + 2)])


def best_threshold(p: Values, own: NDArray[np.bool_]) -> float:
    """Least probability of a predicted class with the best F1 over all decisions.

    Parameters
    ----------
    p : float64 array of shape (n, C)
    own : bool array of shape (n, C)
    """
    levels: list[float] = np.arange(MARGIN, 1 - MARGIN / 2, MARGIN).tolist()
    belongs = int(np.count_nonzero(own))

    def f1(level: float) -> float:
        chosen = p >= level
        hit = int(np.count_nonzero(chosen & own))
        return 2 * hit / max(int(np.count_nonzero(chosen)) + belongs, 1)

    return max(levels, key=lambda level: (round(f1(level), 12), -abs(level - 0.5)))
