"""Bridge, re-embed, or bridge now and re-embed the worst first: what the measurements say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedtune.judging.compare import bootstrap_interval
from embedtune.migration.quality import Kept, Quality
from embedtune.types import Vectors

Advice = Literal["bridge", "bridge now, re-embed in this order", "re-embed"]

NEARLY_ALL = 0.97
"""Share of full re-embedding's quality from which a bridge is enough."""

MOST_OF_IT = 0.9
"""The same from which it serves until all is re-embedded, where what is served today is not known."""

NEIGHBOURS_NEARLY_ALL, NEIGHBOURS_MOST = 0.9, 0.6
"""The same for neighbours kept, where there are no labelled queries: more of them change than matters."""


@dataclass(frozen=True)
class Advised:
    """What to do, and why."""

    advice: Advice
    reasons: tuple[str, ...]


def advise(neighbours: Kept, quality: Quality | None, *, seed: int = 0) -> Advised:
    """Decide by labelled queries where there are any, else by the neighbours that are kept.

    With labelled queries a bridge that serves worse than what is served today is never advised.
    """
    if quality is None:
        share = neighbours.share
        known = (
            f"of the ten nearest documents {share:.0%} are kept; there are no labelled queries to judge by"
        )
        return Advised(_by_share(share, NEIGHBOURS_NEARLY_ALL, NEIGHBOURS_MOST), (known,))
    kept = quality.kept(seed)
    reasons = [
        f"{quality.metric} {quality.bridged.mean():.3f} with the bridge, {quality.full.mean():.3f} "
        f"re-embedded: {kept.share:.1%} is kept (95 % interval {kept.ci95[0]:.1%} to {kept.ci95[1]:.1%}, "
        f"{kept.n} queries)"
    ]
    if quality.today is None:
        return Advised(_by_share(kept.share, NEARLY_ALL, MOST_OF_IT), tuple(reasons))
    today = float(quality.today.mean())
    reasons.append(f"served today: {today:.3f}")
    if bootstrap_interval(quality.full - quality.today, seed=seed).low <= 0:
        reasons.append("the new model is not shown to be better on these queries: there is no haste")
    worse = bootstrap_interval(quality.bridged - quality.today, seed=seed).high < 0
    if worse:
        reasons.append("with the bridge alone it would be worse than today")
        return Advised("re-embed", tuple(reasons))
    enough = kept.share >= NEARLY_ALL
    return Advised("bridge" if enough else "bridge now, re-embed in this order", tuple(reasons))


def _by_share(share: float, nearly_all: float, most: float) -> Advice:
    if share >= nearly_all:
        return "bridge"
    return "bridge now, re-embed in this order" if share >= most else "re-embed"


def order(
    old: Vectors, rows: NDArray[np.int64], error: NDArray[np.float64], traffic: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Say which documents to re-embed first: those with most traffic times expected error.

    Parameters
    ----------
    old : float32 array of shape (N, d)
    rows : int array of shape (n,)
        Documents whose error is known.
    error : float array of shape (n,)
        1 minus the cosine of mapped and new vector, by a map that had not seen the document.
    traffic : float array of shape (N,)
        How often each is asked for; ones where it is not known.

    Returns
    -------
    order : int64 array of shape (N,)
        Rows, the first to be re-embedded first.
    expected : float64 array of shape (N,)
        Expected error of each document: a ridge regression on its old vector.
    """
    from sklearn.linear_model import RidgeCV

    x = np.asarray(old[rows], np.float32)
    fitted = RidgeCV(alphas=(1.0, 10.0, 100.0, 1000.0)).fit(x, error)
    expected = np.empty(len(old))
    for start in range(0, len(old), 65_536):
        part = slice(start, start + 65_536)
        expected[part] = fitted.predict(np.asarray(old[part], np.float32))
    expected = np.maximum(expected, 0.0)
    return np.argsort(-expected * traffic, kind="stable"), expected
