"""What a task brings so that its maps can be chosen and judged out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Similarity, Transform, Vectors

FAR = "far"
"""Metric of problems that tell wrong labels: 1 where a row's label ranks as by chance, else 0."""

Rows = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Round:
    """One fold: what it trains on, and what it is judged on."""

    train: Any
    """What the problem made of the training labels; handed back to it, never looked into."""
    held: Rows
    """Held-out rows of the problem, (h,)."""
    strata: Mapping[str, NDArray[np.bool_]]
    """Which of ``held`` belong to a stratum that must not lose, (h,) each."""
    natural: NDArray[np.bool_]
    """Held out as traffic comes, (h,); False where something was taken out of training by force."""
    outside: bool = False
    """Whether the user's own split made this round, rather than chance."""


class Problem(Protocol):
    """Labelled rows that candidates are fitted to and judged on."""

    @property
    def tells_far(self) -> bool:
        """Whether :data:`FAR` is among its metrics."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the vectors that a fit reads, about."""
        ...

    @property
    def groups(self) -> Rows:
        """Near-duplicate rows share a number, (n,)."""
        ...

    @property
    def similarity(self) -> Similarity:
        """``"cosine"`` or ``"dot"``."""
        ...

    def __len__(self) -> int:
        """Labelled rows."""
        ...

    def rounds(self, seed: int) -> list[Round]:
        """Give the folds; no label of a held-out row, or of a near-duplicate, trains in its round."""
        ...

    def training(self, train: Any) -> Any:
        """Give what this task's tuners are fitted to, from a round's ``train``."""
        ...

    @property
    def everything(self) -> Any:
        """Give what all labelled rows make together, as a round's ``train`` would be."""
        ...

    def thinned(self, train: Any, kept: NDArray[np.bool_]) -> Any:
        """Give a round's ``train`` with the labels of some rows alone, (n,)."""
        ...

    def pooled(self, seed: int) -> Problem:
        """Give a smaller problem of the same rows to choose on, where this one searches very much."""
        ...

    def neighbours(self, transform: Transform, k: int, seed: int) -> Rows:
        """Give the ``k`` nearest items of a few hundred of the rows under a map, (rows, k)."""
        ...

    def places(self, rows: Rows) -> Vectors:
        """Give where on the base's map each row lies, (len(rows), d): rows near are about the same."""
        ...

    def shares(self) -> Mapping[str, float]:
        """Share of traffic that each stratum has, where that is known; else empty."""
        ...

    def evaluate(
        self, transform: Transform, rows: Rows, train: Any, metrics: Sequence[str]
    ) -> dict[str, Scores]:
        """Give each metric of ``rows``, one value a row (h,): higher is better, its mean counts.

        ``train`` is that of the round, for problems whose training labels take part in judging.
        """
        ...


class Plain:
    """What problems have in common whose rounds train on rows, and that know nothing of traffic."""

    @property
    def tells_far(self) -> bool:
        """Never: no label names a single item to be found."""
        return False

    def thinned(self, train: Any, kept: NDArray[np.bool_]) -> Any:
        """Give some of the training rows."""
        return train[kept[train]]

    def shares(self) -> Mapping[str, float]:
        """Nothing is known of traffic beyond the rows themselves."""
        return {}

    def pooled(self, seed: int) -> Self:
        """Give the problem itself."""
        return self
