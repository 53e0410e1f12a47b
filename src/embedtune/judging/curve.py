"""The learning curve: what more labels would bring, with the uncertainty of saying so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedtune.errors import UserError

EXPONENTS = np.geomspace(0.1, 2.0, 25)
"""Exponents of the power law that are tried: from hardly bending to flat after a doubling or two."""

PRIOR = 0.5
"""Weight, in squared standard errors, of one unit of log exponent away from 1/2: a curve of four points
hardly says its exponent, and learning curves mostly lie near there."""

TIMES = (2, 5)
"""Multiples of the labels that are forecast."""

Values = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Forecast:
    """What a number of labels would bring."""

    labels: int
    gain: float
    """Gain over the base."""
    ci95: tuple[float, float]
    more: float
    """Of that, what the labels there are do not bring yet."""
    more_ci95: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Gain by the number of labels, ``a - b n^-c``, fitted to what was measured."""

    sizes: list[int]
    """Labels trained on, ascending; the last is all there are."""
    gains: list[float]
    """Mean gain measured at each size."""
    ci95: list[tuple[float, float]]
    """Its interval, by bootstrap over the judged rows."""
    limit: float
    """a: the gain of endless labels."""
    scale: float
    """b, for n in units of all the labels there are; 0 where more labels do not bring more."""
    exponent: float
    """c."""
    forecasts: list[Forecast] = field(default_factory=list)

    def at(self, labels: float) -> float:
        """Give the gain that the fitted curve has at a number of labels."""
        return float(self.limit - self.scale * (labels / self.sizes[-1]) ** -self.exponent)

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON-able data."""
        return asdict(self)

    def text(self) -> str:
        """Give the forecasts in a line each."""
        return "\n".join(
            f"with {one.labels / self.sizes[-1]:.0f}× the labels ({one.labels:,}): a gain of about "
            f"{one.gain:+.3f} ({one.ci95[0]:+.3f} to {one.ci95[1]:+.3f}), "
            f"{one.more:+.3f} more than now ({one.more_ci95[0]:+.3f} to {one.more_ci95[1]:+.3f})"
            for one in self.forecasts
        )


def learning_curve(
    sizes: Sequence[int],
    gains: ArrayLike,
    *,
    groups: Rows | None = None,
    bound: float | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Curve:
    """Fit an inverse power law to the gains at several sizes, and extrapolate it.

    Parameters
    ----------
    sizes : sequence of int
        Labels trained on, ascending, at least three; the last is all there are.
    gains : float array of shape (len(sizes), r)
        Gain over the base of each judged row, at each size; the rows are the same throughout.
    groups : int array of shape (r,), optional
        Judged rows that are resampled together.
    bound : float, optional
        The largest gain there can be: 1 less the base's score, for example.
    samples : int
        Bootstrap resamples of the judged rows; the curve is fitted to each.
    seed : int
        Seed of the resampling.

    Raises
    ------
    UserError
        When sizes and gains do not belong together or are fewer than three.

    Notes
    -----
    ``gain(n) = a - b n^-c`` with b >= 0, by weighted least squares in a and b for each of a grid of
    exponents. Sizes share their judged rows, so their errors go together; the bootstrap over rows
    keeps that. What it cannot see is whether the law holds beyond the labels there are: a map may have
    learned all that it can, so the lower ends are never above those of a curve that is flat from here on.
    Forecasts are for as many *new* rows: their intervals are wider by the root of two.

    References
    ----------
    Cortes et al. 1993, Learning curves: asymptotic values and rate of convergence, NIPS 6; Figueroa
    et al. 2012, Predicting sample size required for classification performance, BMC Medical
    Informatics and Decision Making 12(8), for weighted fits and their use.
    """
    x = np.asarray(sizes, np.float64)
    table = np.asarray(gains, np.float64)
    if len(x) < 3 or table.ndim != 2 or len(table) != len(x) or not table.shape[1]:
        raise UserError(
            f"a curve needs gains at three sizes or more, and has {len(x)} sizes and gains {table.shape}",
            fix="measure at a quarter, a half and all of the labels",
        )
    if (np.diff(x) <= 0).any() or x[0] < 1 or not np.isfinite(table).all():
        raise UserError("sizes must ascend, and gains be finite")
    drawn = _resampled(table, groups, samples, seed)
    means = np.concatenate([table.mean(axis=1)[None], drawn])  # (1 + samples, sizes)
    error = np.maximum(drawn.std(axis=0), 1e-6)
    a, b, c = _fit(x / x[-1], means, error)
    if bound is not None:
        a = np.minimum(a, bound)

    def at(times: float) -> Values:
        return np.asarray(a - b * times**-c, np.float64)

    def interval(values: Values) -> tuple[float, float]:
        low, high = np.quantile(values[1:], [0.025, 0.975])
        return float(low), float(high)

    forecasts = []
    now = at(1)
    flat = _new_rows(float(now[0]), interval(now))[0]
    for times in TIMES:
        later, more = at(times), at(times) - now
        low, high = _new_rows(float(later[0]), interval(later))
        high = high if bound is None else min(high, max(bound, float(later[0])))
        least, most = _new_rows(float(more[0]), interval(more))
        forecasts.append(
            Forecast(
                int(times * x[-1]),
                float(later[0]),
                (min(low, flat), high),
                float(more[0]),
                (min(least, 0.0), most),
            )
        )
    return Curve(
        [int(size) for size in x],
        [float(mean) for mean in means[0]],
        [interval(column) for column in means.T],
        float(a[0]),
        float(b[0]),
        float(c[0]),
        forecasts,
    )


def _new_rows(centre: float, interval: tuple[float, float]) -> tuple[float, float]:
    """Widen an interval of a mean over the rows that were judged to one of a mean over as many others."""
    low, high = interval
    return centre - 2**0.5 * max(centre - low, 0.0), centre + 2**0.5 * max(high - centre, 0.0)


def _fit(n: Values, means: Values, error: Values) -> tuple[Values, Values, Values]:
    """Fit a, b, c to every row of ``means`` (B, sizes): the exponent of least penalised squares."""
    weight = error**-2
    best = np.full(len(means), np.inf)
    found = np.zeros((3, len(means)))
    for c in EXPONENTS:
        falling = n**-c
        middle = float(weight @ falling / weight.sum())
        centred = falling - middle
        b = np.maximum(-(means * weight) @ centred / float(weight @ centred**2), 0.0)
        a = means @ weight / weight.sum() + b * middle
        squares = ((means - a[:, None] + b[:, None] * falling) ** 2) @ weight
        squares = squares + PRIOR * np.log(c / 0.5) ** 2
        better = squares < best
        best[better] = squares[better]
        found[0, better], found[1, better], found[2, better] = a[better], b[better], c
    return found[0], found[1], found[2]


def _resampled(table: Values, groups: Rows | None, samples: int, seed: int) -> Values:
    """Mean gains of resampled rows, (samples, sizes)."""
    rows = np.arange(table.shape[1]) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(rows.max()) + 1
    sums = np.stack([np.bincount(rows, line, minlength=count) for line in table])
    sizes = np.bincount(rows, minlength=count).astype(np.float64)
    rng = np.random.default_rng(seed)
    found = np.empty((samples, len(table)))
    for i in range(samples):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        found[i] = sums @ times / (sizes @ times)
    return found
