"""The descent of a logistic regression, in blocks of rows: no copy of the vectors is made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.training.budget import Budget
from embedtune.training.threads import one_thread
from embedtune.types import Vectors

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

BLOCK = 4096
"""Rows whose logits are held at a time."""

MOST_STEPS = 300
"""Steps at most."""

ENOUGH = 1e-4
"""The largest derivative of the mean loss at which the descent ends."""


def descend(
    x: Vectors,
    own: Rows,
    columns: int,
    strength: float,
    start: tuple[Values, Values] | None,
    budget: Budget,
) -> tuple[Values, Values]:
    """Minimise the mean loss of a logistic regression and its penalty.

    The loss of scikit-learn, and its rule of when to end; products are taken in float32.

    Parameters
    ----------
    x : float32 array of shape (n, d)
        May be memory-mapped.
    own : int array of shape (n,)
        With one column, whether each row belongs to it: 1 or 0; else the column of each.
    columns : int
        1, or the classes that exclude each other.
    strength : float
        The inverse of the penalty: ``strength`` times the sum of losses against half the squared weights.
    start : (weights, biases), optional
        Where to begin; zeros unless given.
    budget : Budget
        When to stop with what there is then.

    Returns
    -------
    weights : float64 array of shape (columns, d)
    biases : float64 array of shape (columns,)

    References
    ----------
    Byrd, Lu, Nocedal and Zhu 1995, A Limited Memory Algorithm for Bound Constrained Optimization (SIAM
    Journal on Scientific Computing 16), without bounds.
    """
    from scipy.optimize import minimize

    d = x.shape[1]
    penalty = 1 / (strength * max(len(x), 1))
    first = np.zeros((columns, d + 1))
    if start is not None:
        first[:, :d], first[:, d] = start

    def at(flat: Values) -> tuple[float, Values]:
        both = flat.reshape(columns, d + 1)
        value, gradient = _mean_loss(x, own, both)
        gradient[:, :d] += penalty * both[:, :d]
        return value + penalty / 2 * float(np.sum(both[:, :d] ** 2)), gradient.ravel()

    def stop(_: Any) -> None:
        if budget.left <= 0:
            raise StopIteration

    with one_thread(len(x) * first.size):
        found = minimize(
            at,
            first.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop,
            options={"maxiter": MOST_STEPS, "maxls": 50, "gtol": ENOUGH, "ftol": 64 * np.finfo(float).eps},
        )
    both = found.x.reshape(columns, d + 1)
    return both[:, :d], both[:, d]


def _mean_loss(x: Vectors, own: Rows, both: Values) -> tuple[float, Values]:
    """Mean loss of all rows under weights and biases (C, d + 1), and its derivative, of the same shape."""
    n, d = x.shape
    weights, bias = both[:, :d].astype(np.float32), both[:, d].astype(np.float32)
    total, gradient = 0.0, np.zeros(both.shape)
    for start in range(0, n, BLOCK):
        block, mine = np.asarray(x[start : start + BLOCK], np.float32), own[start : start + BLOCK]
        logits = block @ weights.T
        logits += bias
        loss, pull = _two(logits, mine) if len(both) == 1 else _many(logits, mine)
        total += loss
        gradient[:, :d] += pull.T @ block
        gradient[:, d] += pull.sum(axis=0, dtype=np.float64)
    gradient /= max(n, 1)
    return total / max(n, 1), gradient


def _two(logits: Vectors, mine: Rows) -> tuple[float, Vectors]:
    """Sum of the losses of rows that belong to the one column or not, and its derivatives (b, 1)."""
    z, belongs = logits[:, 0], mine > 0
    loss = np.logaddexp(np.float32(0), np.where(belongs, -z, z))
    pull = 1 / (1 + np.exp(-np.clip(z, -80, 80))) - belongs
    return float(loss.sum(dtype=np.float64)), pull.astype(np.float32)[:, None]


def _many(logits: Vectors, mine: Rows) -> tuple[float, Vectors]:
    """Sum of the losses of rows with one column each, and its derivatives (b, C), in place of the logits."""
    rows = np.arange(len(logits))
    logits -= logits.max(axis=1, keepdims=True)
    right = logits[rows, mine].astype(np.float64)
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    loss = float(np.log(total, dtype=np.float64).sum() - right.sum())
    logits /= total
    logits[rows, mine] -= 1
    return loss, logits
