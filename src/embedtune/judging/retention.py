"""Retention: how much general ability a map keeps, on items that it was not made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError
from embedtune.transforms import Identity
from embedtune.transforms.blocks import unit_length
from embedtune.types import Transform, Vectors

NEIGHBOURS = 10
"""Neighbours of each probe that are compared."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the similarities of probes that are reported."""

GENERAL = "general sentences"
"""What the probes of the package are."""


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Items whose neighbours say how much a map changes.

    Parameters
    ----------
    vectors : float32 array of shape (n, d)
        Base vectors, encoded as documents, of unit length or not. A few hundred: all pairs are compared.
    ids : sequence of str, optional
        Their ids, for maps that know items; without them they are new to every map.
    of : str
        What they are, for people.
    k : int
        Neighbours of each that are compared, below n.

    Raises
    ------
    UserError
        When there are not more probes than neighbours.
    """

    vectors: Vectors
    ids: Sequence[str] | None = None
    of: str = GENERAL
    k: int = NEIGHBOURS

    def __post_init__(self) -> None:
        if len(self.vectors) <= self.k:
            raise UserError(
                f"{len(self.vectors)} probes do not have {self.k} neighbours each",
                fix="give more probes, or fewer neighbours",
            )

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def nearest(self) -> NDArray[np.int64]:
        """The nearest others of each probe under the base, (n, k)."""
        before = _unit(self.vectors)
        return _nearest_others(before, before, self.k)

    def mapped(self, transform: Transform) -> tuple[Vectors, Vectors]:
        """Give the probes as queries and as documents under a map, (n, d') of unit length each."""
        if isinstance(transform, Identity):
            return _unit(self.vectors), _unit(self.vectors)
        x = np.asarray(self.vectors, np.float32)
        return _unit(transform.queries(x)), _unit(transform.documents(x, self.ids))

    def kept(self, transform: Transform) -> float:
        """Share of the probes' nearest others that a map keeps, from 0 to 1.

        A probe searches as a query among all others as documents, so that maps of one side count.
        """
        if isinstance(transform, Identity):
            return 1.0
        return _shared(self.nearest, _nearest_others(*self.mapped(transform), self.k))


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
    of: str = GENERAL
    """What they are."""
    asked: float | None = None
    """The share that had to be kept, where one was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Retention:
        """Rebuild what :meth:`to_dict` gave, also after a way through JSON."""
        before, after = data["quantiles"]
        pairs = {"anisotropy": tuple(data["anisotropy"]), "quantiles": (tuple(before), tuple(after))}
        return cls(**{**data, **pairs})

    def text(self) -> str:
        """Give it in a line."""
        (before, after), (low, high) = self.anisotropy, (self.quantiles[1][0], self.quantiles[1][-1])
        asked = "" if self.asked is None else f" (asked for: {self.asked:.0%})"
        return (
            f"{self.kept:.0%} of the neighbours of {self.n} {self.of} are kept{asked}; mean cosine of two "
            f"of them {before:.3f} before, {after:.3f} after (90 % between {low:.3f} and {high:.3f})"
        )


@cache
def probe_texts() -> tuple[str, ...]:
    """Give the sentences that come with the package, on many subjects, each with near ones and far ones."""
    text = files("embedtune.judging").joinpath("probes.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line.strip())


def retention(probes: ProbeSet, transform: Transform, *, asked: float | None = None) -> Retention:
    """Compare the neighbours of probes, and their cosines, before and after a map.

    Parameters
    ----------
    probes : ProbeSet
        What is compared.
    transform : Transform
        The map.
    asked : float, optional
        The share that had to be kept; told beside the one that is.
    """
    before, after = _unit(probes.vectors), probes.mapped(transform)[1]
    return Retention(
        probes.kept(transform),
        (mean_cosine(before), mean_cosine(after)),
        (_quantiles(before), _quantiles(after)),
        len(probes),
        probes.of,
        asked,
    )


def mean_cosine(x: Vectors) -> float:
    """Mean cosine of two different rows of ``x`` (n, d), over all pairs: the anisotropy.

    References
    ----------
    Ethayarajh 2019 (arXiv:1909.00512, section 3.2).
    """
    n = len(x)
    total = _unit(x).sum(axis=0, dtype=np.float64)
    return float((total @ total - n) / (n * (n - 1)))


def _shared(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Share of each row's entries (n, k) that are in the other's row too; entries are below n."""
    row = np.arange(len(a))[:, None] * len(a)
    return float(np.isin(a + row, b + row).mean())


def _unit(x: Vectors) -> Vectors:
    return unit_length(np.array(x, np.float32))


def _nearest_others(queries: Vectors, documents: Vectors, k: int) -> NDArray[np.int64]:
    """Rows of the k nearest documents of each query, without the one of its own row, (n, k), unordered."""
    cosines = queries @ documents.T
    np.fill_diagonal(cosines, -np.inf)
    return np.asarray(np.argpartition(-cosines, k - 1, axis=1)[:, :k], np.int64)


def _quantiles(x: Vectors) -> tuple[float, ...]:
    unit = _unit(x)
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return tuple(round(float(value), 6) for value in np.quantile(cosines, QUANTILES))
