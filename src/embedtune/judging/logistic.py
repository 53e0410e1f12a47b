"""Logistic regression on vectors, as arrays: multinomial with one class an item, else one for each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from embedtune.transforms.blocks import unit_length
from embedtune.tuners.items import LabelledItems
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
) -> Logistic:
    """Fit a penalised logistic regression.

    Parameters
    ----------
    items : LabelledItems
        With one class an item: multinomial. Otherwise one regression for each class.
    strength : float
        C of scikit-learn: the loss of all items counts so much against half the squared weights.
    start : Logistic, optional
        Where to begin; a fit at a nearby strength saves time.
    single : bool, optional
        Whether classes exclude each other; that every item has one is taken for it.

    Returns
    -------
    Logistic
        Classes without items get a logit of -20.
    """
    from sklearn.linear_model import LogisticRegression

    d, count = items.vectors.shape[1], items.counts
    weights, bias = np.zeros((len(count), d), np.float32), np.full(len(count), NEVER, np.float32)
    present = np.flatnonzero(count)
    if not (items.single if single is None else single):
        for column in present.tolist():
            own = items.labels[:, column].toarray().ravel() > 0
            if own.all():
                bias[column] = -NEVER
                continue
            fitted = LogisticRegression(C=strength, max_iter=300).fit(items.vectors, own)
            weights[column], bias[column] = fitted.coef_[0], fitted.intercept_[0]
        return Logistic(weights, bias, False)
    if len(present) < 2:
        bias[present] = -NEVER
        return Logistic(weights, bias, True)
    model = LogisticRegression(C=strength, max_iter=300, warm_start=start is not None)
    if start is not None and len(present) > 2:
        model.coef_, model.intercept_ = start.weights[present].copy(), start.bias[present].copy()
        model.classes_ = present
    fitted = model.fit(items.vectors, items.labels.indices)
    if len(present) == 2:  # scikit-learn gives the logit of the second against the first
        weights[present[1]], bias[present[1]] = fitted.coef_[0], fitted.intercept_[0]
        bias[present[0]] = 0
    else:
        weights[present], bias[present] = fitted.coef_, fitted.intercept_
    return Logistic(weights, bias, True)
