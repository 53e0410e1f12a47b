"""A classifier on top of an artifact's vectors, as arrays: calibrated, and able to abstain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from scipy.special import expit, log_expit, log_softmax, softmax
from scipy.stats import binomtest

from embedtune.errors import UserError, VectorError
from embedtune.judging.classified import Classified
from embedtune.judging.logistic import STRENGTH, Logistic, fit_logistic
from embedtune.judging.problem import Round
from embedtune.judging.voting import Voters
from embedtune.transforms import Identity, Linear
from embedtune.transforms.blocks import as_block
from embedtune.tuners.items import LabelledItems
from embedtune.types import Transform, Vectors

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

POINTS = 200
"""Points of the curve of accuracy by confidence that a head keeps, at most."""

MARGIN = 0.05
"""Above 0: thresholds of a class's probability, where items have several classes, are looked for from here to
1 less this."""


@dataclass(frozen=True, eq=False)
class Head:
    """Classes and their probabilities for vectors.

    Parameters
    ----------
    scorer : Logistic or Voters
        What gives logits (n, C): a regression, or the training items themselves, of vectors as the
        artifact's transform gives them.
    classes : sequence of str
        Names of the C classes.
    single : bool
        Whether every item has exactly one class: probabilities then add up to 1. Otherwise each class
        has a probability of its own, and a prediction any number of classes.
    temperature : float
        Logits are divided by it, so that probabilities are as often right as they say.
    threshold : float
        With several classes an item, the least probability of a predicted class.
    curve : float64 array of shape (2, p)
        Confidence, falling, and accuracy of all out-of-fold predictions of at least that confidence.
    """

    scorer: Logistic | Voters
    classes: Sequence[str]
    single: bool = True
    temperature: float = 1.0
    threshold: float = 0.5
    curve: Values | None = None

    def __post_init__(self) -> None:
        scorer = self.scorer
        given = len(scorer.items.classes) if isinstance(scorer, Voters) else len(scorer.weights)
        if given != len(self.classes):
            raise VectorError(f"logits of {given} classes for the names of {len(self.classes)}")

    @property
    def width(self) -> int:
        """Dimensions of the vectors that it takes."""
        scorer = self.scorer
        return int((scorer.items.vectors if isinstance(scorer, Voters) else scorer.weights).shape[1])

    def predict_proba(self, x: Vectors) -> Values:
        """Give the calibrated probability of each class.

        Parameters
        ----------
        x : float32 array of shape (n, d)
            Tuned vectors, unit length where the similarity is cosine.

        Returns
        -------
        float64 array of shape (n, C)
            Columns in the order of :attr:`classes`.

        Raises
        ------
        VectorError
            When the vectors have another width.
        """
        logits = self.scorer.logits(as_block(x, self.width))
        return probabilities(logits, self.temperature, self.single)

    def predict(
        self, x: Vectors, *, accuracy: float | None = None
    ) -> list[str | None] | list[list[str] | None]:
        """Give the class of each vector, or, with several classes an item, a list of them.

        Parameters
        ----------
        x : float32 array of shape (n, d)
            As for :meth:`predict_proba`.
        accuracy : float, optional
            Abstain (None) where the confidence is below :meth:`abstain_below` of this accuracy.

        Raises
        ------
        UserError
            When no confidence gives the wished accuracy.
        """
        p = self.predict_proba(x)
        least = -1.0 if accuracy is None else self.abstain_below(accuracy)
        sure = confidence(p, self.single, self.threshold) >= least
        if self.single:
            best = p.argmax(axis=1)
            return [
                self.classes[column] if ok else None for column, ok in zip(best.tolist(), sure, strict=True)
            ]
        return [
            [self.classes[column] for column in np.flatnonzero(row >= self.threshold).tolist()]
            if ok
            else None
            for row, ok in zip(p, sure, strict=True)
        ]

    def abstain_below(self, accuracy: float) -> float:
        """Give the least confidence at which predictions were, out of fold, as accurate as wished.

        Raises
        ------
        UserError
            When ``accuracy`` is no share, or no confidence reaches it.
        """
        if not 0 < accuracy <= 1:
            raise UserError(f"accuracy is {accuracy}", fix="give a number above 0, at most 1")
        if self.curve is None or not self.curve.shape[1]:
            raise UserError("this head was not calibrated out of fold, so it cannot abstain")
        reached = np.flatnonzero(self.curve[1] >= accuracy)
        if not len(reached):
            raise UserError(
                f"no confidence gives an accuracy of {accuracy:.3g}; the highest out of fold is "
                f"{self.curve[1].max():.3f}",
                fix="ask for less, or label more",
            )
        return float(self.curve[0, reached[-1]])

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the tensors (for safetensors) and the settings (for JSON)."""
        curve = np.empty((2, 0)) if self.curve is None else self.curve
        settings: dict[str, Any] = {
            "classes": list(self.classes),
            "single": bool(self.single),
            "temperature": float(self.temperature),
            "threshold": float(self.threshold),
        }
        scorer = self.scorer
        if isinstance(scorer, Logistic):
            tensors: dict[str, NDArray[Any]] = {
                "weights": scorer.weights,
                "bias": scorer.bias,
                "curve": curve,
            }
            if scorer.back is None:
                return tensors, settings
            return tensors | {"back": scorer.back}, settings | {"unit": bool(scorer.unit)}
        items = scorer.items
        indices, indptr = (np.asarray(x, np.int64) for x in (items.labels.indices, items.labels.indptr))
        pairs = {"indices": indices, "indptr": indptr}
        own = {"scale": float(scorer.scale), "similarity": items.similarity}
        return {"vectors": items.vectors, **pairs, "curve": curve}, settings | own

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Head:
        """Rebuild what ``state`` gave.

        Raises
        ------
        KeyError, TypeError, ValueError, IndexError
            When something is missing, or does not belong together.
        """
        classes, single = list(settings["classes"]), bool(settings["single"])
        temperature, threshold = float(settings["temperature"]), float(settings["threshold"])
        if not (temperature > 0 and np.isfinite(temperature) and np.isfinite(threshold)):
            raise ValueError(f"temperature {temperature} and threshold {threshold} are out of range")
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("values are not finite")
        scorer: Logistic | Voters
        if "weights" in tensors:
            back, unit = tensors.get("back"), bool(settings.get("unit", True))
            scorer = Logistic(tensors["weights"], tensors["bias"], single, back, unit)
            if back is not None and back.shape != (scorer.weights.shape[1],) * 2:
                raise ValueError(f"back {back.shape} does not fit weights {scorer.weights.shape}")
            if scorer.weights.ndim != 2 or scorer.bias.shape != (len(classes),):
                raise ValueError(f"weights {scorer.weights.shape} and bias {scorer.bias.shape} do not fit")
        else:
            x, indices = tensors["vectors"], tensors["indices"]
            ones = np.ones(len(indices), np.float32)
            labels = csr_matrix((ones, indices, tensors["indptr"]), shape=(len(x), len(classes)))
            labels.check_format(full_check=True)
            items = LabelledItems(x, labels, classes, settings["similarity"])
            scorer = Voters(items, float(settings["scale"]), single)
        curve = tensors["curve"] if tensors["curve"].shape[1] else None
        return cls(scorer, classes, single, temperature, threshold, curve)


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
    threshold = 0.5 if single else _threshold(p, own)
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


def _mapped(items: LabelledItems, transform: Transform) -> LabelledItems:
    if isinstance(transform, Identity):
        return items
    return items.mapped(transform)


def _threshold(p: Values, own: NDArray[np.bool_]) -> float:
    """Least probability of a predicted class with the best F1 over all decisions."""
    levels: list[float] = np.arange(MARGIN, 1 - MARGIN / 2, MARGIN).tolist()
    belongs = int(np.count_nonzero(own))

    def f1(level: float) -> float:
        chosen = p >= level
        hit = int(np.count_nonzero(chosen & own))
        return 2 * hit / max(int(np.count_nonzero(chosen)) + belongs, 1)

    return max(levels, key=lambda level: (round(f1(level), 12), -abs(level - 0.5)))
