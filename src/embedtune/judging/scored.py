"""Scored pairs with the vectors of their sentences: what candidates are fitted to and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embedtune.data.pair_folds import pair_folds, pair_groups
from embedtune.errors import UserError
from embedtune.judging.correlation import CORRELATIONS
from embedtune.judging.neighbours import among_items
from embedtune.judging.problem import Plain, Round
from embedtune.tuners.scored import ScoredPairs
from embedtune.types import Similarity, Transform, Vectors

FOLDS = 5
"""Parts that pairs are held out in, one at a time."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Scored(Plain):
    """Pairs of sentences with scores.

    Parameters
    ----------
    items : float32 array of shape (N, d)
        Vectors of the sentences, each sentence once; unit length where the similarity is cosine.
    left, right : int array of shape (n,)
        Rows of each pair's sentences.
    score : float64 array of shape (n,)
        The higher, the more alike; any scale.
    groups : int array of shape (n,), optional
        Pairs that are held out, and resampled, together; by default those with sentences in common.
    similarity : str
        ``"cosine"`` or ``"dot"``.
    alike : int array of shape (N,), optional
        Sentences that count as the same, such as near-duplicates, share a number.
    fixed : tuple of Round
        Rounds that are given, where training is too long for more; drawn unless given.
    """

    items: Vectors
    left: Rows
    right: Rows
    score: NDArray[np.float64]
    groups: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    similarity: Similarity = "cosine"
    alike: Rows | None = None
    fixed: tuple[Round, ...] = ()

    def __post_init__(self) -> None:
        if len(self.groups) != len(self.score):
            object.__setattr__(self, "groups", pair_groups(*self._sentences()))

    def __len__(self) -> int:
        return len(self.score)

    def _sentences(self) -> tuple[Rows, Rows]:
        if self.alike is None:
            return self.left, self.right
        return self.alike[self.left], self.alike[self.right]

    def take(self, rows: Rows) -> Scored:
        """Keep some of the pairs."""
        return replace(
            self,
            left=self.left[rows],
            right=self.right[rows],
            score=self.score[rows],
            groups=self.groups[rows],
        )

    @property
    def everything(self) -> Rows:
        """All rows."""
        return np.arange(len(self))

    def neighbours(self, transform: Transform, k: int, seed: int) -> Rows:
        """Give the ``k`` nearest of up to 300 items, (asked, k)."""
        return among_items(transform, self.items, k, seed)

    def rounds(self, seed: int) -> list[Round]:
        """Hold out a fifth of the pairs at a time, pairs with sentences in common together."""
        return list(self.fixed) or self._parts(FOLDS, seed)

    def hold_out(self, share: float, most: int, seed: int) -> Round:
        """Give one round that holds out a share of the pairs, ``most`` at most, about."""
        return self._parts(max(2, round(1 / share), -(-len(self) // max(most, 1))), seed)[0]

    def _parts(self, parts: int, seed: int) -> list[Round]:
        folds = pair_folds(*self._sentences(), self.groups, parts=parts, seed=seed)
        return [Round(train, held, {}, np.ones(len(held), bool)) for train, held in folds]

    def training(self, train: Rows) -> ScoredPairs:
        """Training data of the rows ``train``."""
        return ScoredPairs(
            np.asarray(self.items[self.left[train]], np.float32),
            np.asarray(self.items[self.right[train]], np.float32),
            self.score[train],
            self.similarity,
        )

    def seen(self, train: Scored) -> NDArray[np.bool_]:
        """Say for each pair whether one of its sentences is in a pair of ``train``, by row of the same items.

        Raises
        ------
        UserError
            When the two are not over the same items.
        """
        if self.items is not train.items:
            raise UserError("the pairs are over different items", fix="collect both from one dataset")
        known = np.union1d(*train._sentences())
        left, right = self._sentences()
        return np.isin(left, known) | np.isin(right, known)

    def similarities(self, transform: Transform, rows: Rows | None = None) -> NDArray[np.float64]:
        """Give the similarity of each pair's mapped sentences, (n,) or (len(rows),)."""
        left, right = (self.left, self.right) if rows is None else (self.left[rows], self.right[rows])
        used, place = np.unique(np.concatenate([left, right]), return_inverse=True)
        mapped = transform.documents(np.asarray(self.items[used], np.float32))
        left, right = place[: len(left)], place[len(left) :]
        return np.asarray(np.einsum("ij,ij->i", mapped[left], mapped[right], dtype=np.float64))

    def evaluate(
        self, transform: Transform, rows: Rows, train: object, metrics: Sequence[str] = ("spearman",)
    ) -> dict[str, NDArray[np.float64]]:
        """Give each metric as one value a pair of ``rows``, whose mean is the correlation over ``rows``.

        Values are linearised around the ranks *within* ``rows``: compare two transforms on the same
        rows only. ``train`` plays no part.

        Raises
        ------
        UserError
            When there is no such metric.
        """
        for name in metrics:
            if name not in CORRELATIONS:
                raise UserError(
                    f"there is no metric of scored pairs called {name!r}",
                    fix=f"choose from {', '.join(CORRELATIONS)}",
                )
        if not len(rows):
            return {name: np.empty(0) for name in metrics}
        found = self.similarities(transform, rows)
        return {name: CORRELATIONS[name](found, self.score[rows]) for name in metrics}
