"""A classifier fitted to an artifact's vectors: regression or vote, and its calibration, from out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from embedtune.calibration import accuracy_curve, best_threshold, confidence, fit_temperature, probabilities
from embedtune.head import Head
from embedtune.judging.classified import Classified
from embedtune.judging.logistic import STRENGTH, Logistic, fit_logistic
from embedtune.judging.problem import Round
from embedtune.judging.voting import Voters
from embedtune.transforms import Identity, Linear
from embedtune.tuners.items import LabelledItems
from embedtune.types import Transform

Values = NDArray[np.float64]
Values32 = NDArray[np.float32]

WORST = 1e4
"""Condition number of a map beyond which there is no way back through its inverse."""

BEYOND_CHANCE = 0.05
"""A vote is taken where it is right more often than the regression with a p-value below this."""

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse penalties of the regression that are tried out of fold."""

SCALES = (10.0, 20.0, 40.0)
"""Inverse temperatures of the vote that are tried out of fold."""

MOST_VOTERS = 20_000
"""Training items that a head keeps at most; with more it is a regression."""


def fit_head(
    problem: Classified,
    transform: Transform,
    *,
    fitted: Sequence[Transform] | None = None,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    scales: Sequence[float] = SCALES,
    rounds: Sequence[Round] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Head:
    """Fit a head on the mapped vectors of all training items; its kind and calibration from out of fold.

    A regression is linear in the vectors, and so, but for the penalty, no better after a linear map
    than before; and a map that has seen the labels makes it too sure of itself. So it is fitted to the
    vectors as they were, and goes back to them through the map's inverse, where there is one. A vote
    of the training items sees what the map did to neighbourhoods. Penalty and scale are those of the
    least log loss; the vote is taken where it is right more often beyond chance, as with few labels the
    regression is the better guess.

    Parameters
    ----------
    problem : Classified
        The training items, without any that will judge the head.
    transform : Transform
        The map that the head comes after, fitted to all of them.
    fitted : sequence of Transform, optional
        The same map as each of ``problem.rounds(seed)`` has fitted it. Items look better separated to a
        map that has seen their labels: without these, calibration is too sure of itself. Leave it out
        only where the map has seen no labels.
    seed : int
        Which folds.
    strengths : sequence of float
        Inverse penalties of the regression to choose from.
    scales : sequence of float
        Inverse temperatures of the vote to choose from; none are tried with more than
        :data:`MOST_VOTERS` items, as a head that votes keeps them all.
    rounds : sequence of Round, optional
        The folds, where they are there already; ``problem.rounds(seed)`` unless given.
    progress : callable, optional
        Called with ("head", fits done, fits in all).

    Returns
    -------
    Head

    References
    ----------
    Vote or regression: McNemar 1947 (Psychometrika 12), exact. Temperature: Guo et al. 2017, On
    Calibration of Modern Neural Networks (arXiv:1706.04599), section 4.2. Abstaining: Geifman and
    El-Yaniv 2017, Selective Classification for Deep Neural Networks (arXiv:1705.08500), with one further
    error counted in place of their bound.
    """
    single = problem.single
    rounds = problem.rounds(seed) if rounds is None else rounds
    maps = [transform] * len(rounds) if fitted is None else list(fitted)
    everything = _mapped(problem.training(problem.everything), transform)
    if not rounds:  # too few items for a single fold
        return Head(fit_logistic(everything, single=single), list(everything.classes), single)
    votes = [("vote", scale) for scale in scales] if len(everything) <= MOST_VOTERS else []
    logits: dict[tuple[str, float], list[Values]] = {
        kind: [] for kind in [("regression", strength) for strength in strengths] + votes
    }
    back, unit = _inverse(transform)
    truth: list[NDArray[np.bool_]] = []
    total = len(rounds) * len(logits) + 1

    def tell(done: int) -> None:
        if progress:
            progress("head", done, total)

    for one, mapping in zip(rounds, maps, strict=True):
        plain = [problem.training(rows) for rows in (one.train, one.held)]
        train, held = (_mapped(items, mapping) for items in plain)
        truth.append(held.labels.toarray() > 0)
        for_regression, judged_by_it = (train, held) if back is None else plain
        last: Logistic | None = None
        for number, ((kind, value), found) in enumerate(logits.items()):
            tell((len(truth) - 1) * len(logits) + number)
            if kind == "vote":
                found.append(Voters(train, value, single).logits(held.vectors))
                continue
            last = fit_logistic(for_regression, strength=value, start=last, single=single)
            found.append(last.logits(judged_by_it.vectors))
    tell(total - 1)
    own = np.concatenate(truth)
    judged = {key: _judged(np.concatenate(found), own, single=single) for key, found in logits.items()}
    kind, value = _simplest([_usual(keys, judged) for keys in _by_kind(judged)], judged)
    scorer: Logistic | Voters
    if kind == "vote":
        scorer = Voters(everything, value, single)
    elif back is None:
        scorer = fit_logistic(everything, strength=value, single=single)
    else:
        plain_items = problem.training(problem.everything)
        scorer = replace(fit_logistic(plain_items, strength=value, single=single), back=back, unit=unit)
    tell(total)
    chosen = judged[kind, value]
    return Head(
        scorer, list(everything.classes), single, chosen.temperature, chosen.threshold,
        accuracy_curve(chosen.sure, chosen.right),
    )  # fmt: skip


@dataclass(frozen=True)
class _Judged:
    """One kind of head out of fold."""

    temperature: float
    loss: Values
    """Log loss of each item."""
    threshold: float
    sure: Values
    right: NDArray[np.bool_]


def _judged(logits: Values, own: NDArray[np.bool_], *, single: bool) -> _Judged:
    temperature, _ = fit_temperature(logits, own, single=single)
    p = probabilities(logits, temperature, single)
    loss = -np.log(np.maximum(p[own] if single else np.where(own, p, 1 - p).prod(axis=1), 1e-300))
    threshold = 0.5 if single else best_threshold(p, own)
    right = own[np.arange(len(p)), p.argmax(axis=1)] if single else ((p >= threshold) == own).all(axis=1)
    return _Judged(temperature, loss, threshold, confidence(p, single, threshold), right)


def _usual(keys: list[tuple[str, float]], judged: dict[tuple[str, float], _Judged]) -> tuple[str, float]:
    """Give the setting of the least log loss; the usual strength where it comes within one standard error."""
    best = min(keys, key=lambda key: float(judged[key].loss.mean()))
    usual = ("regression", STRENGTH)
    if usual not in keys:
        return best
    more = judged[usual].loss - judged[best].loss
    return best if more.mean() > more.std() / max(len(more), 1) ** 0.5 else usual


def _simplest(best: list[tuple[str, float]], judged: dict[tuple[str, float], _Judged]) -> tuple[str, float]:
    """Give the regression, or the vote where that is right more often, beyond chance."""
    if len(best) == 1:
        return best[0]
    regression, vote = (judged[key].right for key in best)
    won, lost = (int(np.count_nonzero(one)) for one in (vote & ~regression, regression & ~vote))
    sure = won > lost and binomtest(won, won + lost).pvalue < BEYOND_CHANCE
    return best[1] if sure else best[0]


def _inverse(transform: Transform) -> tuple[Values32 | None, bool]:
    """Give the inverse of a linear map of documents, (d, d), and whether what it gives has unit length.

    None where the vectors are what they were, or there is no way back that float32 could follow.
    """
    if not isinstance(transform, Linear) or transform.document is None:
        return None, True
    matrix = transform.document.astype(np.float64)
    if matrix.shape[0] != matrix.shape[1] or np.linalg.cond(matrix) > WORST:
        return None, True
    return np.linalg.inv(matrix).astype(np.float32), transform.normalise


def _by_kind(judged: dict[tuple[str, float], _Judged]) -> list[list[tuple[str, float]]]:
    kinds = dict.fromkeys(kind for kind, _ in judged)
    return [[key for key in judged if key[0] == kind] for kind in kinds]


def _mapped(items: LabelledItems, transform: Transform) -> LabelledItems:
    if isinstance(transform, Identity):
        return items
    return items.mapped(transform)
