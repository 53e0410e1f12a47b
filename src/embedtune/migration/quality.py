"""What a bridge keeps of full re-embedding, on labelled queries, without re-embedding everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.judging.metrics import evaluate_ranks
from embedtune.search import positive_ranks, top_k
from embedtune.types import Vectors

DEPTH = 10
"""Nearest documents of each query, by each of two rankings, that are encoded anew to judge."""

SAMPLES = 1000
"""Bootstrap resamples of an interval."""

Rows = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """A share that is kept, with what it was made from."""

    share: float
    ci95: tuple[float, float]
    n: int
    """Queries, or documents whose neighbours were compared."""

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON-able data."""
        return {**asdict(self), "ci95": list(self.ci95)}


@dataclass(frozen=True)
class Quality:
    """The metric on labelled queries, three ways."""

    metric: str
    bridged: Scores
    """New queries search mapped documents, (n,)."""
    full: Scores
    """New queries search new documents, (n,); estimated where not all documents are encoded anew."""
    today: Scores | None
    """Old queries search old documents; None where the old model cannot encode queries."""
    encoded: int
    """Documents encoded anew for this alone."""

    def kept(self, seed: int) -> Kept:
        """Share of full re-embedding's mean that the bridge keeps."""
        return ratio(self.bridged, self.full, seed)


def judge(
    *,
    queries: Vectors,
    relevance: csr_matrix,
    mapped: Vectors,
    sampled: tuple[Rows, Vectors],
    encode: Callable[[Rows], Vectors],
    today: tuple[Vectors, Vectors] | None,
    metric: str,
) -> Quality:
    """Judge mapped documents beside new ones.

    Of full re-embedding only what can matter is encoded: the judged documents, and those that the map or
    the old model ranks among the first :data:`DEPTH`. How many of the others would rank above a
    positive is estimated from the random sample, each standing for as many as it was drawn from.

    Parameters
    ----------
    queries : float32 array of shape (n, d')
        Of the new model.
    relevance : csr_matrix of shape (n, N)
        Grades above 0.
    mapped : float32 array of shape (N, d')
        What will be served. Documents of the random sample that the map was fitted to are among them, as
        they are among what is asked for: no query has them more often than chance.
    sampled : (int array of shape (s,), float32 array of shape (s, d'))
        A random sample's rows and new vectors.
    encode : callable
        Gives the new vectors of some rows.
    today : (float32 array of shape (n, d), float32 array of shape (N, d)), optional
        Query and document vectors of the old model.
    metric : str
        For example ``"ndcg@10"``.
    """
    rankings = [(queries, mapped)] + ([today] if today is not None else [])
    near = [top_k(q, x, min(DEPTH, len(mapped)))[0].ravel() for q, x in rankings]
    pool = np.unique(np.concatenate([relevance.indices.astype(np.int64), *near]))
    known = dict(zip(sampled[0].tolist(), range(len(sampled[0])), strict=True))
    place = np.array([known.get(row, -1) for row in pool.tolist()], np.int64)
    new = np.empty((len(pool), mapped.shape[1]), np.float32)
    new[place >= 0] = sampled[1][place[place >= 0]]
    missing = pool[place < 0]
    if len(missing):
        new[place < 0] = encode(missing)
    outside = ~np.isin(sampled[0], pool)
    ranks = _full_ranks(queries, relevance, pool, new, sampled[1][outside], len(mapped))
    full = evaluate_ranks(ranks, relevance, [metric])[metric]
    return Quality(
        metric,
        _scores(queries, mapped, relevance, metric),
        full,
        None if today is None else _scores(*today, relevance, metric),
        len(missing),
    )


def ratio(above: Scores, below: Scores, seed: int) -> Kept:
    """Ratio of two means over the same rows, with a paired bootstrap interval; 1 where both are zero."""
    n = len(above)
    total = float(below.sum())
    share = float(above.sum()) / total if total > 0 else 1.0
    rng = np.random.default_rng(seed)
    drawn = np.empty(SAMPLES)
    for i in range(SAMPLES):
        rows = rng.integers(0, n, n)
        size = below[rows].sum()
        drawn[i] = above[rows].sum() / size if size > 0 else share
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Kept(share, (float(low), float(high)), n)


def _scores(queries: Vectors, documents: Vectors, relevance: csr_matrix, metric: str) -> Scores:
    ranks = positive_ranks(queries, np.asarray(documents, np.float32), relevance)
    return evaluate_ranks(ranks, relevance, [metric])[metric]


def _full_ranks(
    queries: Vectors, relevance: csr_matrix, pool: Rows, new: Vectors, others: Vectors, total: int
) -> NDArray[np.int32]:
    """Rank positives among all documents: exactly among the pool, by the sample's share among the rest."""
    judged = csr_matrix(relevance.tocsc()[:, pool])
    judged.sort_indices()
    within = positive_ranks(queries, new, judged)
    if not len(others):
        return within
    wide = csr_matrix((judged.data, judged.indices, judged.indptr), (len(queries), len(pool) + len(others)))
    above = positive_ranks(queries, np.concatenate([new, others]), wide) - within
    stands_for = (total - len(pool)) / len(others)
    return np.asarray(within + np.rint(above * stands_for), np.int32)
