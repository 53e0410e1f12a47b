"""Base and tuned side by side on judged rows: scores by stratum, gain, interval, test, examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.compare import bootstrap_interval, randomisation_test

EXAMPLES = 10
"""Winners, and losers, that are kept."""

ENOUGH = 20
"""Differences that are not zero, from which on the largest of them says how large they get."""

Scores = NDArray[np.float64]

TOGETHER = ("spearman", "pearson", "macro_f1", "logreg_macro_f1")
"""Metrics of all rows together: a row's value is what it adds, so some rows' mean is not their own metric."""


@dataclass(frozen=True)
class Side:
    """Mean scores of one model; None where a stratum has no queries."""

    overall: float | None
    seen: float | None
    unseen: float | None
    n: int
    n_seen: int
    n_unseen: int
    metrics: dict[str, float] = field(default_factory=dict)
    """Further metrics, overall."""


@dataclass(frozen=True)
class Gain:
    """A mean gain with its 95 % interval and two-sided p-value."""

    gain: float
    ci95: tuple[float, float]
    p_value: float
    n: int
    base: float | None = None
    """Mean score of the base on these rows, where it is told."""
    tuned: float | None = None
    """The same of the tuned model."""

    @property
    def harmful(self) -> bool:
        """Whether it is a significant loss."""
        return self.gain < 0 and self.p_value < 0.05


@dataclass(frozen=True)
class Judged:
    """Per-query scores of both models on the queries that judge."""

    base: dict[str, Scores]
    """Metric to scores (n,); the first metric is the one that decides."""
    tuned: dict[str, Scores]
    strata: Mapping[str, NDArray[np.bool_]]
    """Which rows belong to which stratum, (n,) each; empty where that is not known."""
    groups: NDArray[np.int64]
    """Near-duplicate queries share a number, (n,)."""
    texts: Sequence[str]
    seed: int = 0
    natural: NDArray[np.bool_] | None = None
    """The rows that stand for traffic, (n,); the others count in their strata alone. None for all."""
    within: Callable[[NDArray[np.bool_]], tuple[dict[str, Scores], dict[str, Scores]]] | None = None
    """Scores of both models on some rows by themselves, for metrics of :data:`TOGETHER`."""

    @property
    def whole(self) -> NDArray[np.bool_]:
        """The rows that count overall, (n,)."""
        return np.ones(len(self.groups), bool) if self.natural is None else self.natural

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return next(iter(self.base))

    def side(self, which: str) -> Side:
        """Mean scores of ``"base"`` or ``"tuned"``."""
        scores = self.base if which == "base" else self.tuned
        main, whole = scores[self.metric], self.whole
        seen, unseen = (main[self.strata.get(name, whole & False)] for name in ("seen", "unseen"))
        return Side(
            _mean(main[whole]),
            _mean(seen),
            _mean(unseen),
            int(whole.sum()),
            len(seen),
            len(unseen),
            {name: round(float(values[whole].mean()), 6) for name, values in scores.items() if whole.any()},
        )

    def gain(self, rows: NDArray[np.bool_] | None = None, metric: str | None = None) -> Gain | None:
        """Gain on all that counts or on some rows, in the deciding metric or another; None without rows."""
        base, tuned = (side[metric or self.metric] for side in (self.base, self.tuned))
        rows = self.whole if rows is None else rows
        found = gain_of((tuned - base)[rows], self.groups[rows], self.seed)
        return found and replace(found, base=_mean(base[rows]), tuned=_mean(tuned[rows]))

    def only(self, rows: NDArray[np.bool_]) -> Judged:
        """Give some rows by themselves."""
        if self.within is not None and rows.any():
            base, tuned = self.within(rows)
        else:
            kept = [name for name in self.base if name == self.metric or name not in TOGETHER]
            base, tuned = ({name: side[name][rows] for name in kept} for side in (self.base, self.tuned))
        return Judged(base, tuned, {}, self.groups[rows], self.texts, self.seed)

    def gains(self) -> dict[str, Gain]:
        """Gains by stratum, where it has any rows."""
        found = {name: self.gain(rows) for name, rows in self.strata.items()}
        return {name: gain for name, gain in found.items() if gain is not None}

    def examples(self, best: bool) -> list[dict[str, Any]]:
        """Give the queries that won most, or lost most, with both scores."""
        base, tuned = self.base[self.metric], self.tuned[self.metric]
        difference = np.where(self.whole, tuned - base if best else base - tuned, 0.0)
        order = np.argsort(-difference, kind="stable")[:EXAMPLES]
        return [
            {"query": self.texts[i], "base": round(float(base[i]), 4), "tuned": round(float(tuned[i]), 4)}
            for i in order
            if difference[i] > 0
        ]


def gain_of(difference: Scores, groups: NDArray[np.int64], seed: int) -> Gain | None:
    """Gain of per-query differences (n,); None where there are none."""
    if not len(difference):
        return None
    if not difference.any():
        return Gain(0.0, (0.0, 0.0), 1.0, len(difference))
    largest = float(np.abs(difference).max())
    bound = largest if np.count_nonzero(difference) >= ENOUGH else max(1.0, largest)
    interval = bootstrap_interval(difference, groups=groups, seed=seed, bound=bound)
    p_value = randomisation_test(difference, groups=groups, seed=seed)
    return Gain(float(difference.mean()), (interval.low, interval.high), p_value, len(difference))


def _mean(values: Scores) -> float | None:
    return float(values.mean()) if len(values) else None
