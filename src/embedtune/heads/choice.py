"""Which kind of head to take, from what each said of items that it was not fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from embedtune.heads.calibration import best_threshold, confidence, fit_temperature, probabilities
from embedtune.heads.scorers import pooled
from embedtune.judging.compare import holm
from embedtune.judging.logistic import STRENGTH

Values = NDArray[np.float64]
Key = tuple[str, float]
"""``("regression", strength)`` or ``("vote", scale)``."""

BEYOND_CHANCE = 0.05
"""What is not usual is taken where it is right more often with a corrected p-value below this."""

USUAL: Key = ("regression", STRENGTH)


@dataclass(frozen=True)
class Found:
    """A kind of head out of fold."""

    keys: tuple[Key, ...]
    """One, or a regression and a vote that count alike."""
    temperatures: tuple[float, float]
    """Of the two, before they are pooled; ones where there is one."""
    temperature: float
    loss: float
    """Mean log loss."""
    threshold: float
    """Least probability of a predicted class, with several classes an item."""
    sure: Values
    """Confidence of each prediction, (n,)."""
    right: NDArray[np.bool_]
    """Whether it was right, (n,)."""


def choose(logits: Mapping[Key, Values], own: NDArray[np.bool_], single: bool) -> Found:
    """Take the usual regression, unless another kind is right more often, beyond chance.

    Beside the regression of the usual strength (1) that of another strength, (2) a vote, each the one of
    the least log loss, and (3) the usual regression and this vote together are asked whether they are
    right more often. A lower log loss alone is no reason: with few labels it is mostly luck, and costs
    right answers on new items. Of those that are, the one that is most often right is taken.

    Parameters
    ----------
    logits : mapping of (kind, setting) to float64 array of shape (n, C)
        Of items that the kind was not fitted to; at least one regression.
    own : bool array of shape (n, C)
        The classes of each.
    single : bool
        Whether every item has exactly one class.

    References
    ----------
    McNemar 1947 (Psychometrika 12), exact; over several kinds: Holm 1979 (Scandinavian Journal of
    Statistics 6). Temperature: Guo et al. 2017, On Calibration of Modern Neural Networks
    (arXiv:1706.04599), section 4.2.
    """
    judged = {key: _judged((key,), (1.0, 1.0), one, own, single) for key, one in logits.items()}
    regressions, votes = ([key for key in judged if key[0] == kind] for kind in ("regression", "vote"))
    usual = judged[USUAL if USUAL in judged else _least_loss(regressions, judged)]
    others = [key for key in regressions if judged[key] is not usual]
    rivals = [judged[_least_loss(keys, judged)] for keys in (others, votes) if keys]
    if votes:
        pair = (usual.keys[0], rivals[-1].keys[0])
        temperatures = (usual.temperature, rivals[-1].temperature)
        together = pooled([logits[key] for key in pair], temperatures, single=single)
        rivals.append(_judged(pair, temperatures, together, own, single))
    p_values = holm([_by_chance(rival.right, usual.right) for rival in rivals])
    better = [rival for rival, p in zip(rivals, p_values, strict=True) if p < BEYOND_CHANCE]
    return max(better, key=lambda one: int(np.count_nonzero(one.right)), default=usual)


def usual_of(keys: Sequence[Key]) -> Key:
    """Give the kind that is taken where nothing else can be tried: the usual regression, if it is there."""
    return USUAL if USUAL in keys else next(key for key in keys if key[0] == "regression")


def _by_chance(right: NDArray[np.bool_], usual: NDArray[np.bool_]) -> float:
    """Two-sided p-value of being right more often than ``usual``; 1 where it is not."""
    won, lost = (int(np.count_nonzero(one)) for one in (right & ~usual, usual & ~right))
    return float(binomtest(won, won + lost).pvalue) if won > lost else 1.0


def _least_loss(keys: list[Key], judged: Mapping[Key, Found]) -> Key:
    return min(keys, key=lambda key: judged[key].loss)


def _judged(
    keys: tuple[Key, ...],
    temperatures: tuple[float, float],
    logits: Values,
    own: NDArray[np.bool_],
    single: bool,
) -> Found:
    temperature, loss = fit_temperature(logits, own, single=single)
    p = probabilities(logits, temperature, single)
    threshold = 0.5 if single else best_threshold(p, own)
    right = own[np.arange(len(p)), p.argmax(axis=1)] if single else ((p >= threshold) == own).all(axis=1)
    return Found(
        keys, temperatures, temperature, loss, threshold, confidence(p, single, threshold), right
    )  # fmt: skip
