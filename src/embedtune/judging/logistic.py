"""Logistic regression on vectors, as arrays: multinomial with one class an item, else one for each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from embedtune.judging.logistic_descent import descend
from embedtune.training.budget import Budget
from embedtune.training.items import LabelledItems
from embedtune.transforms.blocks import unit_length
from embedtune.types import Vectors

Values = NDArray[np.float64]

STRENGTH = 10.0
"""C: the inverse of the penalty."""

NEVER = -20.0
"""Logit of a class that no training item has, and (its negative) of one that all have."""


@dataclass(frozen=True)
class Logistic:
    """Weights (C, d) and biases (C,), and whether the classes exclude each other."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    single: bool
    back: NDArray[np.float32] | None = None
    """Where the weights are for vectors as they were before a linear map: its inverse, (d, d)."""
    unit: bool = True
    """Whether vectors are brought to unit length when they have been mapped back."""

    def logits(self, x: Vectors) -> Values:
        """Give each class's logit for each row of ``x`` (n, d), (n, C)."""
        if self.back is not None:
            x = x @ self.back.T
            x = unit_length(x) if self.unit else x
        return np.asarray(x @ self.weights.T + self.bias, np.float64)

    def probabilities(self, x: Vectors) -> Values:
        """Give each class's probability, (n, C); rows add up to 1 where the classes exclude each other."""
        logits = self.logits(x)
        return np.asarray(softmax(logits, axis=1) if self.single else expit(logits))


def fit_logistic(
    items: LabelledItems,
    *,
    strength: float = STRENGTH,
    start: Logistic | None = None,
    single: bool | None = None,
    budget: Budget | None = None,
) -> Logistic:
    """Fit a penalised logistic regression.

    Parameters
    ----------
    items : LabelledItems
        With one class an item: multinomial. Otherwise one regression for each class. No copy of their
        vectors is made.
    strength : float
        C of scikit-learn: the loss of all items counts so much against half the squared weights.
    start : Logistic, optional
        Where to begin; a fit at a nearby strength saves time.
    single : bool, optional
        Whether classes exclude each other; that every item has one is taken for it.
    budget : Budget, optional
        When to stop with what there is then.

    Returns
    -------
    Logistic
        Classes without items get a logit of -20.
    """
    d, count = items.vectors.shape[1], items.counts
    weights, bias = np.zeros((len(count), d), np.float32), np.full(len(count), NEVER, np.float32)
    present = np.flatnonzero(count)
    budget = budget or Budget()
    if not (items.single if single is None else single):
        for column in present.tolist():
            own = items.labels[:, column].toarray().ravel() > 0
            if own.all():
                bias[column] = -NEVER
                continue
            begin = None if start is None else _begin(start, [column])
            w, b = descend(items.vectors, own.astype(np.int64), 1, strength, begin, budget)
            weights[column], bias[column] = w[0], b[0]
        return Logistic(weights, bias, False)
    if len(present) < 2:
        bias[present] = -NEVER
        return Logistic(weights, bias, True)
    own = np.searchsorted(present, items.labels.indices)
    if len(present) == 2:  # one column: the logit of the second against the first
        columns, bias[present[0]] = present[1:], 0
    else:
        columns = present
    begin = None if start is None else _begin(start, columns.tolist())
    weights[columns], bias[columns] = descend(
        items.vectors, own, len(columns), strength, begin, budget
    )  # fmt: skip
    return Logistic(weights, bias, True)


def _begin(start: Logistic, columns: list[int]) -> tuple[Values, Values]:
    return start.weights[columns].astype(np.float64), start.bias[columns].astype(np.float64)
