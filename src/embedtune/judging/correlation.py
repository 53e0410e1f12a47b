"""Spearman and Pearson correlation as means of one value a pair, so that paired tests and bootstraps work."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedtune.errors import UserError

Values = NDArray[np.float64]


def pearson_values(x: ArrayLike, y: ArrayLike) -> Values:
    """Give values (n,) whose mean is the Pearson correlation r, linear in each pair's influence.

    The value of a pair is ``r + zx zy - r (zx^2 + zy^2) / 2`` with z the standardised ``x`` and ``y``:
    r plus the pair's influence on it. So the mean over a resample is, to first order, the
    correlation of the resample, and differences of two systems' values can be tested and
    bootstrapped as those of any other metric. All are 0 where ``x`` or ``y`` is constant.

    References
    ----------
    Devlin, Gnanadesikan and Kettenring 1975, Biometrika 62(3), section 2 (influence function of r);
    Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 22.2 (linearised statistics).
    """
    a, b = _checked(x, y)
    a, b = a - a.mean(), b - b.mean()
    spread_a, spread_b = float(np.mean(a * a)), float(np.mean(b * b))
    if spread_a <= 0 or spread_b <= 0:
        return np.zeros(len(a))
    product = a * b / np.sqrt(spread_a * spread_b)
    r = product.mean()
    return np.asarray(r + product - r / 2 * (a * a / spread_a + b * b / spread_b), np.float64)


def spearman_values(x: ArrayLike, y: ArrayLike) -> Values:
    """Give values (n,) whose mean is the Spearman correlation, linear in each pair's influence.

    Spearman's rho is ``C / sqrt(Vx Vy)``, where C is the covariance of the mid-distribution functions
    F(x) and G(y) (mid-ranks over n) and V are their variances. A pair acts on it in two ways: by
    its own ranks, and by moving the ranks of all the others; both are in its influence, of which
    the value is rho plus the pair's own. The mean is rho exactly, with ties; a bootstrap of the
    mean has the spread of a bootstrap of rho itself. All are 0 where ``x`` or ``y`` is constant.

    Parameters
    ----------
    x, y : array of shape (n,)
        Similarities and scores, for example.

    References
    ----------
    Croux and Dehon 2010, Influence functions of the Spearman and Kendall correlation measures,
    Statistical Methods and Applications 19(4). Ours takes mid-distribution functions and their own
    variances, so that ties are right.

    Examples
    --------
    >>> float(spearman_values([1, 2, 3, 4], [1, 3, 2, 4]).mean())
    0.8
    """
    a, b = _checked(x, y)
    f, above_x = _distribution(a)
    g, above_y = _distribution(b)
    covariance, spread_f, spread_g = (float(np.mean(u * v)) - 0.25 for u, v in ((f, g), (f, f), (g, g)))
    if spread_f <= 1e-15 or spread_g <= 1e-15:
        return np.zeros(len(a))
    scale = np.sqrt(spread_f * spread_g)
    rho = covariance / scale
    by_covariance = f * g + above_x(g) + above_y(f) - 3 * (covariance + 0.25)
    by_f = f * f + 2 * above_x(f) - 3 * (spread_f + 0.25)
    by_g = g * g + 2 * above_y(g) - 3 * (spread_g + 0.25)
    return np.asarray(rho + by_covariance / scale - rho / 2 * (by_f / spread_f + by_g / spread_g), np.float64)


def _distribution(x: Values) -> tuple[Values, Callable[[Values], Values]]:
    """Give the mid-distribution function at each x, and what means a function over what lies above each x.

    The second takes values v (n,) to ``mean_j v_j (1[x_j > x_i] + 1[x_j = x_i] / 2)``, (n,).
    """
    n = len(x)
    _, level, count = np.unique(x, return_inverse=True, return_counts=True)
    below = np.cumsum(count) - count
    middle = (below + count / 2)[level] / n

    def above(values: Values) -> Values:
        total = np.bincount(level, values, minlength=len(count))
        over = total.sum() - np.cumsum(total)
        return np.asarray((over + total / 2)[level] / n, np.float64)

    return np.asarray(middle, np.float64), above


CORRELATIONS: dict[str, Callable[[ArrayLike, ArrayLike], Values]] = {
    "spearman": spearman_values,
    "pearson": pearson_values,
}
"""Metrics of scored pairs by name: similarities and scores to one value a pair."""


def _checked(x: ArrayLike, y: ArrayLike) -> tuple[Values, Values]:
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise UserError(
            f"similarities of shape {a.shape} and scores of shape {b.shape} do not belong together",
            fix="give one of each for every pair, and at least one pair",
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError("a similarity or a score is not finite", fix="leave that pair out")
    return a, b
