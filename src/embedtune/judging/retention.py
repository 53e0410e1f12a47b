"""Retention: how much general ability a map keeps, on sentences that have nothing to do with the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.search import top_k
from embedtune.transforms import Identity
from embedtune.types import Transform, Vectors

NEIGHBOURS = 10
"""Neighbours of each probe that are compared."""

STRENGTHS = tuple(round(0.05 * step, 2) for step in range(26))
"""Strengths that are tried to keep a share: 0 to 1.25."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the similarities of probes that are reported."""


@dataclass(frozen=True)
class Retention:
    """What a map does to sentences that it was not made for."""

    kept: float
    """Share of the ten nearest probes of each probe that stay among the ten nearest."""
    anisotropy: tuple[float, float]
    """Mean cosine of two different probes, before and after: near 1, all point the same way."""
    quantiles: tuple[tuple[float, ...], tuple[float, ...]]
    """5, 25, 50, 75 and 95 % quantiles of the cosines of two different probes, before and after."""
    n: int
    """Probes."""

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON-able data."""
        return asdict(self)

    def text(self) -> str:
        """Give it in a line."""
        (before, after), (low, high) = self.anisotropy, (self.quantiles[1][0], self.quantiles[1][-1])
        return (
            f"{self.kept:.0%} of the neighbours of {self.n} general sentences are kept; mean cosine of two "
            f"of them {before:.3f} before, {after:.3f} after (90 % between {low:.3f} and {high:.3f})"
        )


@cache
def probe_texts() -> tuple[str, ...]:
    """Give the sentences that come with the package, on many subjects, each with near ones and far ones."""
    text = files("embedtune.judging").joinpath("probes.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line.strip())


def retention(probes: Vectors, transform: Transform, *, neighbours: int = NEIGHBOURS) -> Retention:
    """Compare the neighbours of probes, and their cosines, before and after a map.

    Parameters
    ----------
    probes : float32 array of shape (n, d)
        Base vectors of :func:`probe_texts`, encoded as documents; normalised here if they are not.
    transform : Transform
        A probe searches as a query among all others as documents, so that maps of one side count.
    neighbours : int
        Neighbours compared, below n.

    Raises
    ------
    UserError
        When there are not more probes than neighbours.
    """
    before, (queries, documents) = _unit(probes), _mapped(probes, transform)
    return Retention(
        kept_share(before, before, queries, documents, neighbours),
        (mean_cosine(before), mean_cosine(documents)),
        (_quantiles(before), _quantiles(documents)),
        len(probes),
    )


def kept_share(
    queries: Vectors, documents: Vectors, new_queries: Vectors, new_documents: Vectors, k: int = NEIGHBOURS
) -> float:
    """Share of each row's k nearest other rows that are still among its k nearest; all inputs (n, d)."""
    if len(queries) <= k:
        raise UserError(
            f"{len(queries)} probes do not have {k} neighbours each",
            fix="give more probes, or fewer neighbours",
        )
    old, new = _nearest_others(queries, documents, k), _nearest_others(new_queries, new_documents, k)
    same = [len(np.intersect1d(a, b)) for a, b in zip(old, new, strict=True)]
    return float(np.mean(same)) / k


def mean_cosine(x: Vectors) -> float:
    """Mean cosine of two different rows of ``x`` (n, d), over all pairs: the anisotropy.

    References
    ----------
    Ethayarajh 2019 (arXiv:1909.00512, section 3.2).
    """
    n = len(x)
    total = _unit(x).sum(axis=0, dtype=np.float64)
    return float((total @ total - n) / (n * (n - 1)))


def strongest(
    probes: Vectors,
    transform: Transform,
    keep: float,
    *,
    strengths: Sequence[float] = STRENGTHS,
    neighbours: int = NEIGHBOURS,
) -> float:
    """Give the largest strength at which the map keeps at least ``keep`` of the probes' neighbours.

    0, the base itself, keeps all of them, and is what is left where nothing else does.

    Raises
    ------
    UserError
        When ``keep`` is not between 0 and 1.
    """
    if not 0 <= keep <= 1:
        raise UserError(f"keep is {keep}", fix="give the share of neighbours to keep, from 0 to 1")
    before = _unit(probes)
    for strength in sorted(strengths, reverse=True):
        if strength == 0:
            break
        if kept_share(before, before, *_mapped(probes, transform.scaled(strength)), neighbours) >= keep:
            return float(strength)
    return 0.0


def _mapped(probes: Vectors, transform: Transform) -> tuple[Vectors, Vectors]:
    x = _unit(probes)
    if isinstance(transform, Identity):
        return x, x
    return _unit(transform.queries(x)), _unit(transform.documents(x))


def _unit(x: Vectors) -> Vectors:
    x = np.asarray(x, np.float32)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def _nearest_others(queries: Vectors, documents: Vectors, k: int) -> NDArray[np.int64]:
    """Rows of the k nearest documents of each query, without the one of its own row, (n, k)."""
    found = top_k(queries, documents, k + 1)[0]
    other = found != np.arange(len(found))[:, None]
    full = other.sum(axis=1) > k  # its own is not among them
    other[full, -1] = False
    return np.asarray(found[other].reshape(len(found), k), np.int64)


def _quantiles(x: Vectors) -> tuple[float, ...]:
    unit = _unit(x)
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return tuple(round(float(value), 6) for value in np.quantile(cosines, QUANTILES))
