"""Which map, and from how many documents: both told by documents that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune.migration.maps import Affine, Fit, candidates
from embedtune.search import top_k
from embedtune.transforms.bridge import Bridge
from embedtune.types import Vectors

FIRST = 1000
"""Documents that the learning curve begins with."""

MOST = 20_000
"""Documents that are encoded anew to learn from, at most, unless more are asked for."""

SHARE = 0.25
"""The same as a share of the collection: beyond it, encoding the rest as well costs little more."""

FLAT = 0.005
"""Gain in mean cosine from twice the documents below which no more are encoded."""

HELD = 0.2
"""Share of the first documents that the learning curve is measured on."""

FOLDS = 5
NEIGHBOURS = 10
ASKED = 500
"""Documents whose neighbours are compared."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sampled:
    """Documents with both vectors, and what the learning curve said while they were gathered."""

    rows: Rows
    """Of the collection, (n,), in the order in which they were drawn."""
    new: Vectors
    """(n, d')."""
    curve: tuple[tuple[int, float], ...]
    """(documents learned from, mean cosine to the new vectors of others)."""


def gather(
    old: Vectors, encode: Callable[[Rows], Vectors], *, asked: int | None, normalise: bool, seed: int
) -> Sampled:
    """Encode a random sample anew, twice as many until that gains less than :data:`FLAT`.

    Parameters
    ----------
    old : float32 array of shape (N, d)
        Of all documents; may be memory-mapped.
    encode : callable
        Gives the new vectors of some rows.
    asked : int, optional
        Documents, where the curve is not to decide.
    normalise : bool
        Whether new vectors have unit length.
    seed : int
        Which documents come first.
    """
    order = np.random.default_rng(seed).permutation(len(old))
    most = min(len(old), min(MOST, max(int(SHARE * len(old)), FIRST)) if asked is None else asked)
    size = most if asked is not None else min(FIRST, most)
    held = max(int(HELD * min(FIRST, most)), 1)
    new = np.empty((0, 0), np.float32)
    curve: list[tuple[int, float]] = []
    while True:
        fresh = encode(order[len(new) : size])
        new = fresh if not len(new) else np.concatenate([new, fresh])
        if size - held > 1:
            x = np.asarray(old[np.sort(order[:size])], np.float32)[np.argsort(np.argsort(order[:size]))]
            fitted = Affine()(x[held:], new[held:], normalise=normalise, seed=seed)
            curve.append((size - held, float(cosines(fitted.documents(x[:held]), new[:held]).mean())))
        flat = len(curve) > 1 and curve[-1][1] - curve[-2][1] < FLAT
        if size == most or flat:
            return Sampled(order[:size], new, tuple(curve))
        size = min(2 * size, most)


@dataclass(frozen=True)
class Chosen:
    """The map, and how the others did."""

    name: str
    bridge: Bridge
    """Fitted to the whole sample."""
    held_out: Vectors
    """What maps that had not seen them make of the sampled documents, (n, d')."""
    neighbours: NDArray[np.float64]
    """Share of the ten nearest sampled documents that are kept, for some documents, (a,)."""
    tried: dict[str, float]
    """Mean share of neighbours kept, by map."""


def choose(old: Vectors, new: Vectors, *, normalise: bool, seed: int) -> Chosen:
    """Choose the simplest map within one standard error of the one that keeps most neighbours.

    Parameters
    ----------
    old : float32 array of shape (n, d)
    new : float32 array of shape (n, d')
        Of the same documents; unit length where ``normalise``.
    normalise : bool
        Whether mapped vectors are brought to unit length.
    seed : int
        Seed of folds and fits.

    Notes
    -----
    Neighbours are searched as they will be: vectors of the new model search mapped ones.
    """
    rng = np.random.default_rng(seed)
    part = rng.permutation(len(old)) % FOLDS
    asked = np.sort(rng.choice(len(old), min(ASKED, len(old)), replace=False))
    found: list[tuple[Fit, Vectors, NDArray[np.float64]]] = []
    for fit in candidates(len(old), old.shape[1], new.shape[1]):
        mapped = np.empty_like(new)
        for i in range(FOLDS):
            train, held = part != i, part == i
            if held.any():
                fitted = fit(old[train], new[train], normalise=normalise, seed=seed + i)
                mapped[held] = fitted.documents(old[held])
        found.append((fit, mapped, kept_neighbours(new, mapped, asked)))
    best = max(found, key=lambda one: float(one[2].mean()))
    for fit, mapped, kept in found:
        behind = best[2] - kept
        if behind.mean() <= behind.std() / max(len(behind) - 1, 1) ** 0.5:
            bridge = fit(old, new, normalise=normalise, seed=seed)
            tried = {one.name: round(float(share.mean()), 4) for one, _, share in found}
            return Chosen(fit.name, bridge, mapped, kept, tried)
    raise AssertionError("the best is within one standard error of itself")


def kept_neighbours(new: Vectors, mapped: Vectors, asked: Rows) -> NDArray[np.float64]:
    """Give the share of each asked document's nearest that stay when ``mapped`` is searched, (a,)."""
    k = min(NEIGHBOURS, len(new) - 1)
    if k < 1:
        return np.ones(len(asked))
    truth, found = (_others(top_k(new[asked], x, k + 1)[0], asked, k) for x in (new, mapped))
    return np.array([len(np.intersect1d(a, b)) / k for a, b in zip(truth, found, strict=True)])


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Cosine of each row of ``a`` and the same row of ``b``, (n,)."""
    product = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    length = np.linalg.norm(a, axis=1).astype(np.float64) * np.linalg.norm(b, axis=1)
    return np.asarray(product / np.maximum(length, 1e-12))


def _others(found: Rows, asked: Rows, k: int) -> list[Rows]:
    return [row[row != own][:k] for row, own in zip(found, asked, strict=True)]
