"""A classifier fitted to an artifact's vectors: regression or vote, and its calibration, from out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedtune.heads.calibration import accuracy_curve
from embedtune.heads.choice import Key, choose, usual_of
from embedtune.heads.head import Head
from embedtune.heads.scorers import Both, Scorer
from embedtune.judging.classified import Classified
from embedtune.judging.logistic import STRENGTH, Logistic, fit_logistic
from embedtune.judging.problem import Round
from embedtune.judging.voting import Voters
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.transforms import Identity, Linear
from embedtune.tuners.leading import leading_axes
from embedtune.types import Transform

Values = NDArray[np.float64]
Values32 = NDArray[np.float32]

WORST = 1e4
"""Condition number of a map beyond which there is no way back through its inverse."""

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse penalties of the regression that are tried out of fold."""

SCALES = (10.0, 20.0, 40.0)
"""Inverse temperatures of the vote that are tried out of fold."""

MOST_VOTERS = 20_000
"""Training items that a head keeps at most; with more it is a regression."""

AXES = 640
"""Wider vectors are seen along so many leading axes by a regression: it is faster, and loses nothing."""


def fit_head(
    problem: Classified,
    transform: Transform,
    *,
    fitted: Sequence[Transform] | None = None,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    scales: Sequence[float] = SCALES,
    rounds: Sequence[Round] | None = None,
    budget: Budget | None = None,
) -> Head:
    """Fit a head on the mapped vectors of all training items; its kind and calibration from out of fold.

    A regression is linear in the vectors, and so, but for the penalty, no better after a linear map
    than before; and a map that has seen the labels makes it too sure of itself. So it is fitted to the
    vectors as they were, and goes back to them through the map's inverse, where there is one. A vote
    of the training items sees what the map did to neighbourhoods. What is taken says
    :func:`~embedtune.heads.choice.choose`.

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
    budget : Budget, optional
        When to stop, and whom to tell ("head", fits done, fits in all). Each fit has an even share of what is
        left; once one does not end within it, only the usual regression is still fitted.

    Returns
    -------
    Head

    References
    ----------
    Abstaining: Geifman and El-Yaniv 2017, Selective Classification for Deep Neural Networks
    (arXiv:1705.08500), with one further error counted in place of their bound.
    """
    single, classes = problem.single, list(problem.items.classes)
    rounds = problem.rounds(seed) if rounds is None else rounds
    maps = [transform] * len(rounds) if fitted is None else list(fitted)
    plain, budget = problem.training(problem.everything), budget or Budget()
    regression = _Regression.before(transform, plain, single)
    if not rounds:  # too few items for a single fold
        return Head(regression.final(plain, transform, STRENGTH, None, budget), classes, single)
    keys: list[Key] = [("regression", strength) for strength in strengths]
    if len(problem) <= MOST_VOTERS:
        keys += [("vote", scale) for scale in scales]
    logits: dict[Key, list[Values]] = {key: [] for key in keys}
    truth: list[NDArray[np.bool_]] = []
    total = len(rounds) * len(keys) + 1
    last: Logistic | None = None
    cut = False
    for one, mapping in zip(rounds, maps, strict=True):
        if cut and truth and budget.left <= 0:
            break
        own = [problem.training(rows) for rows in (one.train, one.held)]
        if not regression.plain or any(kind == "vote" for kind, _ in keys):
            train, held = (_mapped(items, mapping) for items in own)
        else:
            train, held = own
        seen, asked = (regression.sees(*pair) for pair in zip(own, (train, held), strict=True))
        last = None
        for number, (kind, value) in enumerate(keys):
            done = len(truth) * len(keys) + number
            budget.tell("head", done, total)
            if (cut or budget.left <= 0) and (kind, value) != usual_of(keys):
                cut = True
                continue
            if kind == "vote":
                logits[kind, value].append(Voters(train, value, single).logits(held.vectors))
                continue
            part = budget.within(max(budget.left, 0) / (total - done))
            last = fit_logistic(seen, strength=value, start=last, single=single, budget=part)
            logits[kind, value].append(last.logits(asked.vectors))
            cut = cut or part.left <= 0
        truth.append(held.labels.toarray() > 0)
    budget.tell("head", total - 1, total)
    judged = {key: np.concatenate(one) for key, one in logits.items() if len(one) == len(truth)}
    found = choose(judged, np.concatenate(truth), single)
    start = last if cut or problem.sampled else None  # what is short of time, or large, begins near its end
    scorers: dict[str, Logistic | Voters] = {
        kind: Voters(_mapped(plain, transform), value, single)
        if kind == "vote"
        else regression.final(plain, transform, value, start, budget)
        for kind, value in found.keys
    }
    scorer: Scorer = next(iter(scorers.values()))
    if len(scorers) == 2:
        scorer = Both(scorers["regression"], scorers["vote"], found.temperatures)  # type: ignore[arg-type]
    budget.tell("head", total, total)
    return Head(
        scorer,
        classes,
        single,
        found.temperature,
        found.threshold,
        accuracy_curve(found.sure, found.right),
        cut or budget.left <= 0,
    )


@dataclass(frozen=True)
class _Regression:
    """What a regression is fitted to: vectors as they were, where there is a way back to them."""

    single: bool
    plain: bool
    """Whether it sees vectors as they were before the map."""
    back: Values32 | None = None
    """The map's inverse, (d, d)."""
    unit: bool = True
    """Whether what the inverse gives has unit length."""
    axes: Values32 | None = None
    """Wide vectors are seen along their leading axes alone, (d, k): as good, and faster."""

    @classmethod
    def before(cls, transform: Transform, items: LabelledItems, single: bool) -> _Regression:
        """See the items before ``transform``, if that can be undone."""
        back, unit = _inverse(transform)
        plain = back is not None or isinstance(transform, Identity)
        axes = leading_axes(np.asarray(items.vectors, np.float32), AXES) if plain else None
        return cls(single, plain, back, unit, axes)

    def sees(self, plain: LabelledItems, mapped: LabelledItems) -> LabelledItems:
        """Give the vectors that it is fitted to, and asked of."""
        if not self.plain:
            return mapped
        return plain if self.axes is None else plain.moved(plain.vectors @ self.axes)

    def final(
        self,
        plain: LabelledItems,
        transform: Transform,
        strength: float,
        start: Logistic | None,
        budget: Budget,
    ) -> Logistic:
        """Fit it to all items, for vectors as the map gives them."""
        items = self.sees(plain, plain if self.plain else _mapped(plain, transform))
        fitted = fit_logistic(items, strength=strength, start=start, single=self.single, budget=budget)
        weights = fitted.weights if self.axes is None else fitted.weights @ self.axes.T
        return replace(fitted, weights=weights, back=self.back, unit=self.unit)


def _inverse(transform: Transform) -> tuple[Values32 | None, bool]:
    """Give the inverse of a linear map of documents, (d, d), and whether what it gives has unit length.

    None where the vectors are what they were, or there is no way back that float32 could follow.
    """
    if not isinstance(transform, Linear) or transform.document is None:
        return None, True
    matrix = transform.document.astype(np.float64)
    if matrix.shape[0] != matrix.shape[1]:
        return None, True
    squares = np.linalg.eigvalsh(matrix.T @ matrix)  # ten times faster than singular values
    if squares[-1] > WORST**2 * max(squares[0], 0):
        return None, True
    return np.linalg.inv(matrix).astype(np.float32), transform.normalise


def _mapped(items: LabelledItems, transform: Transform) -> LabelledItems:
    if isinstance(transform, Identity):
        return items
    return items.mapped(transform)
