"""Clusters of rows that got worse, found without being told where to look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.compare import bootstrap_interval, holm, randomisation_test
from embedtune.types import Vectors

COUNTS = (4, 8, 16, 32)
"""Numbers of clusters that are tried."""

LEAST = 10
"""Rows below which a cluster is not looked at; there are at most so many clusters that one has twice this."""

LOSS = 0.02
"""Mean loss below which a cluster is not worth telling."""

LEVEL = 0.05
"""Holm-adjusted p-value below which a loss counts as real."""

SHARED = 0.5
"""Share of a cluster's rows in one that was told already, from which on it is the same weak spot."""

FITTED = 5000
"""Rows that clusters are made of, at most; the others join the nearest."""

EXAMPLES, WORDS = 3, 5
"""Examples, and words, that describe a weak spot."""

Rows = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class WeakSpot:
    """A cluster of rows that lose, surely."""

    n: int
    loss: float
    """How much lower the mean score is under the tuned model."""
    ci95: tuple[float, float]
    """Interval of the gain, below zero; of this cluster alone."""
    p_value: float
    """Two-sided, of this cluster alone."""
    p_holm: float
    """Adjusted for all clusters that were looked at."""
    words: list[str] = field(default_factory=list)
    """What its texts have and others have not."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The rows nearest to its middle, with both scores."""

    def text(self, rows: str) -> str:
        """Give it in one line; ``rows`` says what is judged."""
        about = f" about {', '.join(self.words)}" if self.words else ""
        return f"weak spot: {self.n} {rows}{about} lose {self.loss:.3f} on average (p = {self.p_holm:.2g})"


def weak_spots(
    vectors: Vectors,
    base: Scores,
    tuned: Scores,
    texts: Sequence[str],
    groups: Rows,
    *,
    seed: int = 0,
    worded: bool = True,
) -> list[WeakSpot]:
    """Cluster the rows by their base vectors, and tell the clusters that lose, the clearest first.

    Clusters are made without a look at the scores, so the randomisation test of each holds; all that
    could be significant at all are tested, and adjusted together (Holm). The clearest has the greatest
    loss over the square root of its rows, which prefers neither the broad nor the narrow; one that
    shares half of its rows with a clearer one is left out.

    Parameters
    ----------
    vectors : float32 array of shape (n, d)
        Where each row lies on the base's map, normalised or not.
    base, tuned : float64 arrays of shape (n,)
        Scores.
    texts : sequence of str
        What each row says.
    groups : int array of shape (n,)
        Near-duplicates share a number, and change sign together.
    seed : int
        Seed of clusters and tests.
    worded : bool
        Whether the texts are words, so that some of them can describe a cluster.

    References
    ----------
    Tarone 1990, A modified Bonferroni method for discrete data, Biometrics 46(2): clusters of which too
    few rows differ to be significant need not be counted.
    """
    difference = tuned - base
    looked = [rows for rows in _clusters(vectors, seed) if _can_tell(difference[rows], groups[rows])]
    if not looked or not (difference < 0).any():
        return []
    samples = max(10_000, 400 * len(looked))
    p_values = [
        randomisation_test(difference[rows], groups=groups[rows], samples=samples, seed=seed)
        if difference[rows].sum() < 0
        else 1.0
        for rows in looked
    ]
    adjusted = holm(p_values)
    order = sorted(range(len(looked)), key=lambda i: difference[looked[i]].sum() / len(looked[i]) ** 0.5)
    taken: list[Rows] = []
    found = []
    for i in order:
        rows, loss = looked[i], -float(difference[looked[i]].mean())
        if adjusted[i] >= LEVEL or loss < LOSS or _told(rows, taken):
            continue
        taken.append(rows)
        interval = bootstrap_interval(difference[rows], groups=groups[rows], seed=seed)
        found.append(
            WeakSpot(
                len(rows),
                loss,
                (interval.low, interval.high),
                p_values[i],
                float(adjusted[i]),
                _words(texts, rows) if worded else [],
                _central(vectors, rows, base, tuned, texts),
            )
        )
    return found


def _clusters(vectors: Vectors, seed: int) -> Iterator[Rows]:
    """Rows of every cluster with enough of them, for every number of clusters."""
    from sklearn.cluster import KMeans

    x = np.asarray(vectors, np.float32)
    sample = np.arange(len(x))
    if len(x) > FITTED:
        sample = np.sort(np.random.default_rng(seed).choice(len(x), FITTED, replace=False))
    seen = set()
    for count in COUNTS:
        if count * 2 * LEAST > len(x) or count > len(np.unique(x[sample], axis=0)):
            break
        fitted = KMeans(count, n_init=1, random_state=seed).fit(x[sample])
        label = fitted.labels_ if len(sample) == len(x) else fitted.predict(x)
        for one in range(count):
            rows = np.flatnonzero(label == one)
            if len(rows) >= LEAST and rows.tobytes() not in seen:
                seen.add(rows.tobytes())
                yield rows


def _can_tell(difference: Scores, groups: Rows) -> bool:
    """Whether so many groups differ that a two-sided test by signs can be significant at all."""
    _, member = np.unique(groups, return_inverse=True)
    differing = int(np.count_nonzero(np.bincount(member, difference)))
    return bool(2.0 ** (1 - differing) < LEVEL)


def _told(rows: Rows, taken: Sequence[Rows]) -> bool:
    return any(len(np.intersect1d(rows, one)) >= SHARED * min(len(rows), len(one)) for one in taken)


def _central(
    vectors: Vectors, rows: Rows, base: Scores, tuned: Scores, texts: Sequence[str]
) -> list[dict[str, Any]]:
    """Give the rows nearest to the cluster's middle, each text once."""
    x = np.asarray(vectors[rows], np.float64)
    order = rows[np.argsort(np.square(x - x.mean(axis=0)).sum(axis=1), kind="stable")].tolist()
    first = list({texts[row]: row for row in reversed(order)}.values())[::-1][:EXAMPLES]
    return [
        {"query": texts[row], "base": round(float(base[row]), 4), "tuned": round(float(tuned[row]), 4)}
        for row in first
    ]


def _words(texts: Sequence[str], rows: Rows) -> list[str]:
    """Give the words whose mean tf-idf is most above that of all other texts, in two of its texts or more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        model = TfidfVectorizer(stop_words="english", sublinear_tf=True)
        weight = model.fit_transform(texts)
    except ValueError:  # no text has a word
        return []
    inside = np.zeros(len(texts), bool)
    inside[rows] = True
    own, others = weight[inside], weight[~inside]
    mean = np.asarray(own.mean(axis=0)).ravel()
    rest = np.asarray(others.mean(axis=0)).ravel() if others.shape[0] else 0.0
    often = np.asarray((own > 0).sum(axis=0)).ravel() >= max(2, 0.05 * len(rows))
    score = np.where(often, mean - rest, 0.0)
    names = model.get_feature_names_out()
    return [str(names[i]) for i in np.argsort(-score, kind="stable")[:WORDS] if score[i] > 0]
