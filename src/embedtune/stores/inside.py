"""Whether labelled queries find inside a store what the map makes them find in an exact search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.judging.comparison import Gain, gain_of
from embedtune.judging.metrics import evaluate_ranks
from embedtune.stores.base import Id

METRIC = "ndcg@10"

CLOSE = 0.02
"""How far the metric inside the store may lie under the same computed here, or under what it was before. It
decides where queries are too few for an interval to tell."""

TIED = 1e-5
"""Scores that differ by less count as equal: rounding alone decides their order."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Inside:
    """nDCG@10 of labelled queries by what a store finds, beside an exact search."""

    store: float
    """Inside the store."""
    offline: float
    """With the map applied here and an exact search, which breaks ties as the store does."""
    base: float | None
    """Before, in an exact search; None where the model that came before cannot encode the queries."""
    difference: Gain
    """The gain inside the store less the gain of the exact search: ``store`` less ``offline``, as both are
    gains on the same base. A paired bootstrap over queries; near-duplicates are drawn together."""

    @property
    def within_noise(self) -> bool:
        """Whether the interval does not lie wholly below zero, nor the mean below what is allowed."""
        return self.difference.ci95[1] >= 0 and self.difference.gain >= -CLOSE

    @property
    def worse(self) -> bool:
        """Whether the store would find less than before."""
        return self.base is not None and self.store < self.base - CLOSE

    def told(self) -> str:
        """Say the difference with its interval."""
        low, high = self.difference.ci95
        return f"{self.difference.gain:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"

    def metric(self) -> dict[str, float]:
        """Give it for JSON."""
        base = {} if self.base is None else {"base": self.base}
        low, high = self.difference.ci95
        return {
            **base,
            "offline": self.offline,
            "store": self.store,
            "queries": self.difference.n,
            "difference": self.difference.gain,
            "difference_low": low,
            "difference_high": high,
        }


def judge(
    found: Sequence[Sequence[Id]],
    exact: Sequence[Sequence[tuple[Id, float]]],
    before: Sequence[Sequence[Id]] | None,
    relevant: Sequence[Mapping[str, float]],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Inside:
    """Compare what a store finds with an exact search, query by query.

    Parameters
    ----------
    found : n sequences of ids
        What the store gives for each query, best first.
    exact : n sequences of (id, score)
        The exact best with the map applied here, and what else the store gives, in any order.
    before : n sequences of ids, optional
        The exact best before the map.
    relevant : n mappings
        Grades by document id.
    groups : int array of shape (n,), optional
        Near-duplicate queries share a number.
    seed : int
        Of the interval.

    Examples
    --------
    >>> both = judge([["a"], ["b"]], [[("a", 0.9)], [("c", 0.9)]], None, [{"a": 1}, {"c": 1}])
    >>> both.store, both.offline, both.within_noise
    (0.5, 1.0, False)
    """
    ranked = [as_the_store(pairs, names) for pairs, names in zip(exact, found, strict=True)]
    inside, offline = ndcg(found, relevant), ndcg(ranked, relevant)
    rows = np.arange(len(inside)) if groups is None else groups
    difference = gain_of(inside - offline, rows, seed)
    assert difference is not None
    base = None if before is None else float(ndcg(before, relevant).mean())
    return Inside(float(inside.mean()), float(offline.mean()), base, difference)


def as_the_store(pairs: Sequence[tuple[Id, float]], found: Sequence[Id]) -> list[Id]:
    """Rank ids by their scores; those that are tied in the order in which the store gives them.

    Examples
    --------
    >>> as_the_store([("a", 0.9), ("b", 0.9), ("c", 0.5)], ["b", "a"])
    ['b', 'a', 'c']
    """
    place = {name: rank for rank, name in enumerate(found)}
    ordered = sorted(pairs, key=lambda pair: -pair[1])
    tie, last, keys = 0, np.inf, []
    for name, score in ordered:
        tie += last - score > TIED
        keys.append((tie, place.get(name, len(place)), name))
        last = score
    return [name for _, _, name in sorted(keys, key=lambda key: key[:2])]


def ndcg(found: Sequence[Sequence[Id]], relevant: Sequence[Mapping[str, float]]) -> Scores:
    """Judge ranked ids by graded relevance, a query each, (n,)."""
    column: dict[str, int] = {}
    rows, columns, grades, ranks = [], [], [], []
    for row, (names, wanted) in enumerate(zip(found, relevant, strict=True)):
        place = {str(name): rank for rank, name in enumerate(names, 1)}
        for name, grade in wanted.items():
            rows.append(row)
            columns.append(column.setdefault(name, len(column)))
            grades.append(grade)
            ranks.append(place.get(name, 1_000_000))
    pairs = csr_matrix((grades, (rows, columns)), shape=(len(found), max(len(column), 1)))
    order = csr_matrix((ranks, (rows, columns)), shape=pairs.shape)
    scores = evaluate_ranks(order.data.astype(np.int32), pairs, [METRIC])[METRIC]
    return np.asarray(scores, np.float64)
