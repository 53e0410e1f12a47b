"""Scored pairs with the vectors of their sentences: what candidates are fitted to and judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embedtune.data.pair_folds import FEW_REPEAT, pair_folds, pair_groups, repeated_share, seen_pairs
from embedtune.errors import UserError
from embedtune.judging.correlation import CORRELATIONS
from embedtune.judging.many import JUDGED, TRAINED
from embedtune.judging.neighbours import among_items
from embedtune.judging.problem import Plain, Round
from embedtune.mapped import gather
from embedtune.training.pairs import ScoredPairs
from embedtune.types import Similarity, Transform, Vectors

FOLDS = 5
"""Parts that pairs are held out in, one at a time."""

MANY = 800
"""From so many pairs on, one round holds out a tenth by pair and a tenth by sentence."""

ROUNDS = 4
"""Such rounds, at most: each is another fit."""

FEW = 20
"""Pairs of a split of the user's own, below which it says nothing about what comes."""

BLOCK = 8192
"""Pairs whose sentences are mapped at a time."""

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
    outside : bool array of shape (n,), optional
        Pairs of a split that the user has set apart (dev): judged once more by a round of their own,
        trained on all others.
    fixed : tuple of Round
        Rounds that are given, where training is too long for more; drawn unless given.

    Notes
    -----
    A tuner is fitted to :data:`~embedtune.judging.many.TRAINED` pairs at most, drawn at random.
    """

    items: Vectors
    left: Rows
    right: Rows
    score: NDArray[np.float64]
    groups: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    similarity: Similarity = "cosine"
    alike: Rows | None = None
    outside: NDArray[np.bool_] | None = None
    fixed: tuple[Round, ...] = ()

    def __post_init__(self) -> None:
        if len(self.groups) != len(self.score):
            object.__setattr__(self, "groups", pair_groups(*self._sentences()))

    def __len__(self) -> int:
        return len(self.score)

    @property
    def size(self) -> int:
        """Bytes of the sentences' vectors."""
        return int(self.items.nbytes)

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
            outside=None if self.outside is None else self.outside[rows],
        )

    @property
    def everything(self) -> Rows:
        """All rows."""
        return np.arange(len(self))

    def neighbours(self, transform: Transform, k: int, seed: int) -> Rows:
        """Give the ``k`` nearest of up to 300 items, (asked, k)."""
        return among_items(transform, self.items, k, seed)

    def places(self, rows: Rows) -> Vectors:
        """Give the middle of each pair's sentences, (len(rows), d)."""
        both = gather(self.items, self.left[rows])
        both += gather(self.items, self.right[rows])
        both /= 2
        return both

    @property
    def _apart(self) -> NDArray[np.bool_] | None:
        """The user's own split, where both it and the rest are large enough to say something."""
        if self.outside is None or not FEW <= self.outside.sum() <= len(self) - FEW:
            return None
        return self.outside

    def rounds(self, seed: int) -> list[Round]:
        """Hold out by pair, as new pairs come, and by sentence; and once the user's own dev split.

        A pair held out by pair may share a sentence with one that trains (*seen*); one held out by sentence
        does not (*unseen*). Where hardly any sentence is in two pairs, all are held out by sentence.
        """
        if self.fixed:
            return list(self.fixed)
        left, right = self._sentences()
        apart = self._apart
        if self.shares()["seen"] < FEW_REPEAT:
            folds = pair_folds(left, right, self.groups, parts=FOLDS, seed=seed)
            rounds = [self._round(train, held, len(held)) for train, held in folds]
        else:
            rounds = self._both_ways(seed, ROUNDS - (apart is not None))
        if apart is not None:
            rows = np.flatnonzero(apart)
            rounds.append(replace(self._round(np.flatnonzero(~apart), rows, len(rows)), outside=True))
        return [self._few(one, seed) for one in rounds]

    def _few(self, one: Round, seed: int) -> Round:
        """Cut what a round trains on, and what it holds out by chance, where that is very much."""
        train, held, natural = _some(one.train, TRAINED, seed), one.held, one.natural
        if not one.outside and len(held) > 2 * JUDGED:
            parts = [_some(np.flatnonzero(natural == kind), JUDGED, seed) for kind in (True, False)]
            held = held[np.concatenate(parts)]
            natural = np.arange(len(held)) < len(parts[0])
        if len(train) == len(one.train) and len(held) == len(one.held):
            return one
        return replace(self._round(train, held, int(natural.sum())), outside=one.outside)

    def _both_ways(self, seed: int, most: int) -> list[Round]:
        """Hold out by pair and by sentence: in one round where there are many pairs, else apart."""
        many, (left, right) = len(self) >= MANY, self._sentences()
        parts = 2 * FOLDS if many else FOLDS
        same = np.unique(np.sort(np.stack([left, right]), axis=0), axis=1, return_inverse=True)[1].ravel()
        part = np.random.default_rng(seed).permutation(same.max() + 1)[same] % parts
        by_sentence = pair_folds(left, right, self.groups, parts=parts, seed=seed)
        if many:
            return [
                self._round(train[part[train] != i], np.r_[by_pair, held], len(by_pair))
                for i, (train, held) in enumerate(by_sentence[:most])
                for by_pair in [np.setdiff1d(np.flatnonzero(part == i), held)]
            ]
        return [
            self._round(np.flatnonzero(part != i), np.flatnonzero(part == i), int(np.sum(part == i)))
            for i in range(parts)
            if (part == i).any()
        ] + [self._round(train, held, 0) for train, held in by_sentence]

    def _round(self, train: Rows, held: Rows, natural: int) -> Round:
        """Make a round; the first ``natural`` of ``held`` are held out as new pairs come."""
        known = seen_pairs(self._sentences(), held, train)
        return Round(train, held, {"seen": known, "unseen": ~known}, np.arange(len(held)) < natural)

    def shares(self) -> Mapping[str, float]:
        """Seen and unseen in the shares of the user's own split; without one, as sentences repeat."""
        apart = self._apart
        if apart is not None:
            held, train = np.flatnonzero(apart), np.flatnonzero(~apart)
            share = float(seen_pairs(self._sentences(), held, train).mean())
        else:
            share = repeated_share(*self._sentences())
        return {"seen": share, "unseen": 1 - share}

    def hold_out(self, share: float, most: int, seed: int) -> Round:
        """Give one round that holds out a share of the pairs, ``most`` at most, about: the first of its kind.

        The user's own dev split, where it says something and is not larger.
        """
        apart = self._apart
        if apart is not None and apart.sum() <= most:
            return replace(
                self._round(np.flatnonzero(~apart), np.flatnonzero(apart), int(apart.sum())), outside=True
            )
        parts = max(2, round(1 / share), -(-len(self) // max(most, 1)))
        train, held = pair_folds(*self._sentences(), self.groups, parts=parts, seed=seed)[0]
        return self._round(train, held, len(held))

    def training(self, train: Rows) -> ScoredPairs:
        """Training data of the rows ``train``; of many, of a sample."""
        train = _some(train, TRAINED, 0)
        return ScoredPairs(
            gather(self.items, self.left[train]),
            gather(self.items, self.right[train]),
            self.score[train],
            self.similarity,
        )

    @property
    def trained(self) -> int:
        """How many pairs a fold may train on."""
        return TRAINED

    @property
    def sampled(self) -> int:
        """How many pairs a tuner is fitted to; 0 where that is all of them."""
        return TRAINED if len(self) > TRAINED else 0

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
        found = np.empty(len(left))
        for start in range(0, len(left), BLOCK):
            some = slice(start, start + BLOCK)
            used, place = np.unique(np.concatenate([left[some], right[some]]), return_inverse=True)
            mapped = transform.documents(gather(self.items, used))
            one, other = np.split(place.ravel(), 2)
            found[some] = np.einsum("ij,ij->i", mapped[one], mapped[other], dtype=np.float64)
        return found

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


def _some(rows: Rows, most: int, seed: int) -> Rows:
    """Draw at most so many rows, in their order."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]
