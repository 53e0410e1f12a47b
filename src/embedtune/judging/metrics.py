"""Ranking metrics of every query, computed at once from the ranks of its positives.

The definitions are trec_eval's; a positive is a pair with a grade above 0. Metrics that are named
``name@k`` look at the first ``k`` documents only.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.errors import UserError

Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Ranked:
    """The positives of all queries, one entry a pair, by query and then by rank."""

    query: NDArray[np.int64]
    rank: NDArray[np.int64]
    grade: Values
    place: NDArray[np.int64]
    """1 for the query's best-ranked positive, 2 for the next, and so on."""
    ideal_grade: Values
    """The query's grades from the highest: entry i is the grade at ``place[i]`` of the ideal ranking."""
    positives: Values
    """Positives of each query, shape (n,)."""

    def total(self, values: Values | NDArray[np.bool_]) -> Values:
        """Sum a value a pair into one a query."""
        return np.bincount(self.query, weights=values, minlength=len(self.positives)).astype(np.float64)


def _ndcg(ranked: _Ranked, k: float) -> Values:
    got = ranked.total(ranked.grade / np.log2(ranked.rank + 1) * (ranked.rank <= k))
    return got / ranked.total(ranked.ideal_grade / np.log2(ranked.place + 1) * (ranked.place <= k))


def _mrr(ranked: _Ranked, k: float) -> Values:
    return ranked.total((ranked.place == 1) * (ranked.rank <= k) / ranked.rank)


def _recall(ranked: _Ranked, k: float) -> Values:
    return ranked.total(ranked.rank <= k) / ranked.positives


def _precision(ranked: _Ranked, k: float) -> Values:
    return ranked.total(ranked.rank <= k) / k


def _map(ranked: _Ranked, k: float) -> Values:
    return ranked.total(ranked.place / ranked.rank * (ranked.rank <= k)) / ranked.positives


def _hit(ranked: _Ranked, k: float) -> Values:
    return ranked.total((ranked.place == 1) & (ranked.rank <= k))


@dataclass(frozen=True)
class _Kind:
    compute: Callable[[_Ranked, float], Values]
    summary: str
    needs_k: bool = False


METRICS: dict[str, _Kind] = {
    "ndcg": _Kind(_ndcg, "graded gain, discounted by log2(rank + 1), over that of the ideal ranking"),
    "mrr": _Kind(_mrr, "1 / rank of the first positive"),
    "recip_rank": _Kind(_mrr, "trec_eval's name of mrr"),
    "map": _Kind(_map, "mean over the positives of the precision at their ranks"),
    "recall": _Kind(_recall, "share of the positives that are found", needs_k=True),
    "precision": _Kind(_precision, "share of the documents found that are positives", needs_k=True),
    "hit": _Kind(_hit, "1 if any positive is found", needs_k=True),
    "success": _Kind(_hit, "trec_eval's name of hit", needs_k=True),
}
"""The metrics by name; all are higher for better rankings and lie between 0 and 1."""


@dataclass(frozen=True)
class Metric:
    """A parsed metric name."""

    name: str
    """A key of :data:`METRICS`."""
    k: int | None
    """The cutoff; None looks at the whole ranking."""

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"


def parse_metric(text: str) -> Metric:
    """Read a name such as ``"ndcg@10"`` or ``"map"``.

    Raises
    ------
    UserError
        When there is no such metric, its cutoff is no whole number above 0, or one is missing.

    Examples
    --------
    >>> parse_metric("ndcg@10")
    Metric(name='ndcg', k=10)
    """
    name, at, cutoff = text.strip().lower().partition("@")
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(f"there is no metric called {text!r}", fix=f"{hint}choose from {_valid_names()}")
    if at and not (cutoff.isascii() and cutoff.isdigit() and int(cutoff) > 0):
        raise UserError(
            f"the cutoff of {text!r} is no whole number above 0",
            fix=f"write for example '{name}@10'",
        )
    if METRICS[name].needs_k and not at:
        raise UserError(f"metric {text!r} needs a cutoff", fix=f"write for example '{name}@10'")
    return Metric(name, int(cutoff) if at else None)


def evaluate_ranks(
    ranks: NDArray[np.int32], relevance: csr_matrix, metrics: Sequence[str] = ("ndcg@10",)
) -> dict[str, NDArray[np.float64]]:
    """Compute metrics of every query from the ranks of its positives.

    Parameters
    ----------
    ranks : int array of shape (relevance.nnz,)
        Rank from 1 of each stored pair of ``relevance``, as
        :func:`embedtune.search.positive_ranks` gives them.
    relevance : sparse matrix of shape (n, N)
        Grades; pairs stored with a grade of 0 or less are no positives.
    metrics : sequence of str
        Names as :func:`parse_metric` reads them.

    Returns
    -------
    dict of str to float64 array of shape (n,)
        Under the names as they were given; NaN for queries without a positive.

    Raises
    ------
    UserError
        When a metric is unknown, or ranks and relevance do not belong together.

    References
    ----------
    NDCG: Järvelin and Kekäläinen 2002, ACM TOIS 20(4), with trec_eval's linear gain and log2(rank + 1).
    """
    parsed = {text: parse_metric(text) for text in metrics}
    ranked = _by_rank(np.asarray(ranks), csr_matrix(relevance))
    with np.errstate(invalid="ignore"):
        return {
            text: np.where(
                ranked.positives > 0, METRICS[metric.name].compute(ranked, metric.k or np.inf), np.nan
            )
            for text, metric in parsed.items()
        }


def _by_rank(ranks: NDArray[Any], relevance: csr_matrix) -> _Ranked:
    if ranks.shape != (relevance.nnz,):
        raise UserError(
            f"{ranks.size} ranks for {relevance.nnz} judgements", fix="rank each stored pair once"
        )
    if ranks.size and ranks.min() < 1:
        raise UserError(f"a rank is {ranks.min()}", fix="count ranks from 1")
    n = relevance.shape[0]
    keep = relevance.data > 0
    query = np.repeat(np.arange(n), np.diff(relevance.indptr))[keep]
    rank, grade = ranks[keep].astype(np.int64), relevance.data[keep].astype(np.float64)
    order, ideal = np.lexsort((rank, query)), np.lexsort((-grade, query))
    query = query[order]
    place = np.arange(len(query)) - np.searchsorted(query, query, "left") + 1
    positives = np.bincount(query, minlength=n).astype(np.float64)
    return _Ranked(query, rank[order], grade[order], place, grade[ideal], positives)


def _valid_names() -> str:
    return ", ".join(f"{name}@k" if kind.needs_k else f"{name}, {name}@k" for name, kind in METRICS.items())
