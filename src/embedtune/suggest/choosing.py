"""What to label next: items and pairs that are uncertain, unlike each other, and that the map moves.

Nothing here looks at a label that is not given, and the same inputs and seed give the same list.
Each candidate is worth ``uncertainty x (1 + moved)``, and candidates are picked one after the other by their
worth times how much nearer they bring the candidates that are left to something labelled or picked: no two
ask the same, and none lies where nothing else does.

References
----------
Settles 2009, Active Learning Literature Survey, sections 3.1 (uncertainty), 3.4 (change of the model)
and 3.6 (diversity); Wei, Iyer and Bilmes 2015, Submodularity in Data Subset Selection and Active Learning
(ICML), section 3, for the gain in coverage (facility location) and why picking one by one is near the best;
Hacohen et al. 2022 (arXiv:2202.02794): with few labels, typical items teach more than odd ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression

from embedtune.errors import UserError
from embedtune.search import top_k
from embedtune.transforms.blocks import unit_length
from embedtune.types import Transform, Vectors

NEIGHBOURS = 10
"""Neighbours that are compared, that vote, or that make candidate pairs."""

CANDIDATES = 20_000
"""Candidates looked at, at most; a random choice of more."""

COVERED = 1500
"""Candidates, drawn at random, that stand for all where coverage is measured."""

Rows = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Suggested:
    """Candidates in the order in which to label them."""

    rows: Rows
    """Rows of the candidates, (n,); for pairs (n, 2)."""
    uncertainty: Values
    """Of each, 0 to 1, (n,)."""
    moved: Values
    """Share of its neighbours that the map changes, or of the ranks that it moves by, (n,)."""


def suggest_queries(
    queries: Vectors,
    documents: Vectors,
    transform: Transform,
    n: int,
    *,
    known: Vectors | None = None,
    seed: int = 0,
) -> Suggested:
    """Choose queries that are worth judging: their best two documents are nearly as good.

    Parameters
    ----------
    queries : float32 array of shape (m, d)
        Candidates, as the base encodes them, unit length.
    documents : float32 array of shape (N, d)
        What they search, likewise; at least two.
    transform : Transform
        The map.
    n : int
        How many; fewer where there are fewer.
    known : float32 array of shape (k, d), optional
        Queries that are labelled already.
    seed : int
        Which candidates are looked at where there are too many, and who wins a tie.
    """
    if len(documents) < 2:
        raise UserError("there is only one document, so every query finds it", fix="add documents")
    some, rng = _some(len(queries), seed)
    q, k = queries[some], min(NEIGHBOURS, len(documents) - 1)
    before = top_k(q, documents, k)[0]
    after, score = top_k(transform.queries(q), transform.documents(documents), k + 1)
    uncertainty = _rank(score[:, 1] - score[:, 0])
    moved = _changed(before, after[:, :k])
    return _picked(some, q, uncertainty, moved, n, known, rng)


def suggest_documents(
    documents: Vectors, transform: Transform, n: int, *, known: Vectors, seed: int = 0
) -> Suggested:
    """Choose documents that are worth a query: far from all that any label speaks of.

    Parameters
    ----------
    documents : float32 array of shape (m, d)
        Documents without a query, as the base encodes them, unit length.
    transform, n, seed
        As for :func:`suggest_queries`.
    known : float32 array of shape (k, d)
        Documents that have a query already.
    """
    some, rng = _some(len(documents), seed)
    x = documents[some]
    mapped = transform.documents(x)
    uncertainty = np.ones(len(x))
    if len(known):
        uncertainty = _rank(-top_k(mapped, transform.documents(known), 1)[1][:, 0])
    k = min(NEIGHBOURS, len(x))
    moved = _changed(top_k(x, x, k)[0], top_k(mapped, mapped, k)[0])
    return _picked(some, x, uncertainty, moved, n, known, rng)


def suggest_items(
    items: Vectors, labelled: Vectors, labels: Sequence[str], transform: Transform, n: int, *, seed: int = 0
) -> Suggested:
    """Choose items that are worth a label: their neighbours disagree about it.

    Parameters
    ----------
    items : float32 array of shape (m, d)
        Candidates, as the base encodes them, unit length.
    labelled : float32 array of shape (k, d)
        Items with labels, likewise.
    labels : sequence of str
        One for each of ``labelled``.
    transform, n, seed
        As for :func:`suggest_queries`.
    """
    some, rng = _some(len(items), seed)
    x, k = items[some], min(NEIGHBOURS, len(labelled))
    after, score = top_k(transform.documents(x), transform.documents(labelled), k)
    code = np.unique(np.asarray(labels, str), return_inverse=True)[1]
    votes = np.zeros((len(x), int(code.max()) + 1))
    np.add.at(votes, (np.arange(len(x))[:, None], code[after]), np.maximum(score, 1e-6))
    share = votes / votes.sum(axis=1, keepdims=True)
    entropy = -np.sum(share * np.log(np.maximum(share, 1e-12)), axis=1) / np.log(max(votes.shape[1], 2))
    uncertainty = (np.clip(entropy, 0, 1) + _rank(-score[:, 0])) / 2  # or far from all that is labelled
    return _picked(some, x, uncertainty, _changed(top_k(x, labelled, k)[0], after), n, labelled, rng)


def suggest_pairs(
    items: Vectors,
    transform: Transform,
    scored: tuple[Rows, Rows, Values],
    n: int,
    *,
    seed: int = 0,
) -> Suggested:
    """Choose pairs that are worth a score: the scores of pairs as similar lie in the middle.

    Candidates are each item with its nearest ones, before and after the map, and random pairs.

    Parameters
    ----------
    items : float32 array of shape (N, d)
        As the base encodes them, unit length.
    transform, n, seed
        As for :func:`suggest_queries`.
    scored : (int array (k,), int array (k,), float array (k,))
        Left rows, right rows and scores of the pairs that have one.
    """
    if len(items) < 2:
        raise UserError("one sentence makes no pair", fix="give more of them")
    some, rng = _some(len(items), seed, CANDIDATES // 4)
    x = items[some]
    mapped, k = transform.documents(x), min(4, len(x))
    near = np.concatenate([top_k(y, y, k)[0] for y in (x, mapped)], axis=1)
    left = np.r_[np.repeat(np.arange(len(x)), near.shape[1]), rng.integers(0, len(x), len(x))]
    right = np.r_[near.ravel(), rng.integers(0, len(x), len(x))]
    pairs = np.stack([some[np.minimum(left, right)], some[np.maximum(left, right)]], axis=1)
    known_left, known_right, score = scored
    taken = np.stack([np.minimum(known_left, known_right), np.maximum(known_left, known_right)], axis=1)
    key = pairs[:, 0] * len(items) + pairs[:, 1]
    fresh = (pairs[:, 0] != pairs[:, 1]) & ~np.isin(key, taken[:, 0] * len(items) + taken[:, 1])
    pairs = pairs[fresh][np.unique(key[fresh], return_index=True)[1]]
    if not len(pairs):
        return Suggested(np.empty((0, 2), np.int64), np.empty(0), np.empty(0))
    everything = transform.documents(items)

    def similarity(vectors: Vectors, rows: Rows) -> Values:
        return np.asarray(np.einsum("ij,ij->i", vectors[rows[:, 0]], vectors[rows[:, 1]]), np.float64)

    now = similarity(everything, pairs)
    uncertainty = _between(now, similarity(everything, taken), score)
    moved = np.abs(_rank(now) - _rank(similarity(items, pairs)))
    features, known = (
        unit_length(everything[rows[:, 0]] + everything[rows[:, 1]]) for rows in (pairs, taken)
    )
    found = _picked(np.arange(len(pairs)), features, uncertainty, moved, n, known, rng)
    return Suggested(pairs[found.rows], found.uncertainty, found.moved)


def _between(similarity: Values, known: Values, score: Values) -> Values:
    """4 p (1 - p), where p is the score, from 0 to 1, that pairs as similar have."""
    spread = float(np.ptp(score)) if len(score) else 0.0
    if spread > 0:
        fitted = IsotonicRegression(out_of_bounds="clip").fit(known, (score - score.min()) / spread)
        p = fitted.predict(similarity)
    else:
        p = _rank(similarity)
    return np.asarray(np.clip(4 * p * (1 - p), 0.01, 1), np.float64)


def _some(count: int, seed: int, most: int = CANDIDATES) -> tuple[Rows, np.random.Generator]:
    rng = np.random.default_rng(seed)
    if not count:
        raise UserError("there is nothing to choose from", fix="give items that have no label yet")
    rows = np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))
    return rows, rng


def _rank(values: Values | Vectors) -> Values:
    """Ranks from just above 0 to 1; ties, to six digits, in the middle."""
    return np.asarray(rankdata(np.round(values, 6)) / max(len(values), 1), np.float64)


def _changed(before: Rows, after: Rows) -> Values:
    """Share of each row's neighbours that are others after the map, (m,)."""
    kept = [len(np.intersect1d(a, b)) for a, b in zip(before, after, strict=True)]
    return np.asarray(1 - np.array(kept) / before.shape[1], np.float64)


def _picked(
    rows: Rows,
    vectors: Vectors,
    uncertainty: Values,
    moved: Values,
    n: int,
    known: Vectors | None,
    rng: np.random.Generator,
) -> Suggested:
    """Pick one after the other by worth times what it adds to the coverage of all candidates.

    A candidate is covered by the most similar of what is known or picked, as far as they are similar at all.
    """
    if n < 1:
        raise UserError(f"{n} suggestions make no list", fix="ask for at least one")
    worth = uncertainty * (1 + moved) * (1 + 1e-9 * rng.random(len(rows)))
    some = np.arange(len(rows))
    if len(rows) > COVERED:
        some = np.sort(rng.choice(len(rows), COVERED, replace=False))
    similar = np.asarray(vectors @ vectors[some].T, np.float32)  # (m, covered)
    covered = np.zeros(len(some), np.float32)
    if known is not None and len(known):
        covered = np.maximum(top_k(vectors[some], known, 1)[1][:, 0], 0)
    added = _added(similar, covered, np.arange(len(rows)))
    open_ = np.ones(len(rows), bool)
    chosen: list[int] = []
    for _ in range(min(n, len(rows))):
        best = _best(worth, added, open_, similar, covered)
        chosen.append(best)
        open_[best] = False
        covered = np.maximum(covered, similar[best])
    return Suggested(rows[chosen], uncertainty[chosen], moved[chosen])


def _added(similar: Vectors, covered: Vectors, rows: Rows) -> Values:
    """Mean coverage that each of some candidates would add, and a trace for those that add none."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), 1024):
        part = rows[start : start + 1024]
        found[start : start + 1024] = np.maximum(similar[part] - covered, 0).mean(axis=1)
    return found + 1e-9


def _best(worth: Values, added: Values, open_: NDArray[np.bool_], similar: Vectors, covered: Vectors) -> int:
    """Give the open candidate that is worth most now; ``added`` is brought up to date where it matters.

    What a candidate adds only shrinks, so one whose old value is below another's new one need not be looked
    at (Minoux 1978, Accelerated greedy algorithms).
    """
    while True:
        value = np.where(open_, worth * added, -1)
        top = np.argsort(-value, kind="stable")[:32]
        top = top[open_[top]]
        added[top] = _added(similar, covered, top)
        best = int(top[np.argmax(worth[top] * added[top])])
        rest = value.copy()
        rest[top] = -1
        if worth[best] * added[best] >= rest.max(initial=-1):
            return best
