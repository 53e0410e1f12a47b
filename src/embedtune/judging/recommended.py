"""Histories with the vectors of the items: what recommenders are fitted to and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.judging.metrics import evaluate_ranks
from embedtune.judging.neighbours import among_items
from embedtune.judging.problem import Plain, Round
from embedtune.search import positive_ranks, top_k
from embedtune.training.interactions import Interactions
from embedtune.transforms.blocks import unit_length
from embedtune.transforms.by_block import BLOCK, mapped_documents, pooled_histories
from embedtune.transforms.identity import Identity
from embedtune.transforms.pooling import pooling_of
from embedtune.types import Similarity, Transform, Vectors

LAST = 0.1
"""Share of a user's interactions, the latest, that are held out: at least one."""

HEAVY = 0.5
"""Users with more interactions than this quantile are heavy, the others light."""

NATURAL, FORCED = 2, 1
"""Rounds that hold out users' latest interactions, and rounds that hold out items too.

Of the first kind one is enough where half the users are as many as are judged in a round.
"""

COLD = 0.2
"""Share of the items that each forced round takes out of training."""

MOST = 3000
"""Users judged in a round, at most."""

ALL, WARM, COLD_PART = 0, 1, 2
"""A user has three rows: all targets, those on items with training interactions, and those on new items."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """What one round trains on and asks for: handed back to ``training`` and ``evaluate``."""

    history: Interactions
    """Trained on, pooled to queries, and left out of the ranking."""
    targets: Interactions
    """What is to be found."""
    forced: bool = False
    """Whether only targets on items hidden by force are asked for."""

    @cached_property
    def warm(self) -> NDArray[np.bool_]:
        """Items with training interactions, (N,)."""
        return np.asarray(self.history.popularity > 0)


@dataclass(frozen=True)
class Recommended(Plain):
    """Users' histories, to be continued.

    Each user has three rows: ``u`` asks for all that is held out (traffic as it comes), ``n + u`` for the
    part on items that others chose in training (stratum ``warm``), ``2n + u`` for the part on items that
    nobody did (``cold``). A user's own history is never recommended, and never holds anything from the
    time of the targets or after. Other users' later interactions do train, as in a test split by user.

    Parameters
    ----------
    interactions : Interactions
        All that may be learned from.
    test : Interactions, optional
        What a test split asks for, over the same users and items.
    """

    interactions: Interactions
    test: Interactions | None = None

    def __len__(self) -> int:
        return 3 * self.interactions.users

    @property
    def size(self) -> int:
        """Bytes of the items' vectors."""
        return int(self.interactions.items.nbytes)

    @property
    def similarity(self) -> Similarity:
        """``"cosine"`` or ``"dot"``."""
        return self.interactions.similarity

    @property
    def large_maps(self) -> bool:
        """Always: a map has two vectors of each item, so those of the folds are not kept."""
        return True

    @property
    def groups(self) -> Rows:
        """The user of each row, (3n,): rows of a user never straddle a fold."""
        return np.tile(np.arange(self.interactions.users), 3)

    @property
    def everything(self) -> Split:
        """The split whose targets are the test interactions and whose history is all the rest."""
        nothing = self.interactions.take(np.zeros(len(self.interactions), bool))
        return Split(self.interactions, nothing if self.test is None else self.test)

    def thinned(self, train: Split, kept: NDArray[np.bool_]) -> Split:
        """Give the histories of some users alone."""
        return replace(train, history=train.history.take(kept[train.history.user]))

    def neighbours(self, transform: Transform, k: int, seed: int) -> Rows:
        """Give the ``k`` nearest of up to 300 items, (asked, k)."""
        return among_items(transform, self.interactions.items, k, seed, self.interactions.item_ids)

    def places(self, rows: Rows) -> Vectors:
        """Give the middle of each user's items, (len(rows), d)."""
        history = _binary(self.interactions.matrix())
        users, at = np.unique(np.asarray(rows) % self.interactions.users, return_inverse=True)
        items, ids = self.interactions.items, self.interactions.item_ids
        middle = pooled_histories(Identity(), items, ids, history[users])
        counts = np.maximum(np.diff(history[users].indptr), 1)
        return np.asarray(middle / counts[:, None], np.float32)[at]

    def rounds(self, seed: int) -> list[Round]:
        """Hold out half the users' latest interactions, then the others', then a random fifth of the items.

        The others' only where there are few users.

        Within a forced round the items' interactions of all users leave training, and all users' latest
        interactions on them are asked for.
        """
        rng = np.random.default_rng(seed)
        whole, last = self.interactions, self.interactions.last(LAST, seed)
        part = rng.permutation(whole.users) % NATURAL
        found = []
        for turn in range(1 if whole.users // NATURAL >= MOST else NATURAL):
            held = last & (part == turn)[whole.user]
            found.append(self._round(Split(whole.take(~held), whole.take(held)), rng))
        share = rng.permutation(len(whole.items)) % round(1 / COLD)
        for turn in range(FORCED):
            hidden = (share == turn)[whole.item]
            split = Split(whole.take(~last & ~hidden), whole.take(last & hidden), forced=True)
            found.append(self._round(split, rng))
        return [one for one in found if len(one.held)]

    def final(self) -> Round:
        """Give the round of the test split: all its rows that ask for something."""
        return self._round(self.everything, None)

    def _round(self, split: Split, rng: np.random.Generator | None) -> Round:
        """Rows that ask for something and have a history to ask with."""
        users, targets = split.history.users, split.targets
        per_part = [
            np.bincount(targets.user[mask], minlength=users)
            for mask in (np.ones(len(targets), bool), split.warm[targets.item], ~split.warm[targets.item])
        ]
        asks = (np.stack(per_part) > 0) & (split.history.counts > 0)
        if split.forced:
            asks[[ALL, WARM]] = False
        judged = np.flatnonzero(asks.any(axis=0))
        if rng is not None and len(judged) > MOST:
            asks[:, np.setdiff1d(judged, rng.choice(judged, MOST, replace=False))] = False
        held = np.flatnonzero(asks.ravel())
        kind, user = np.divmod(held, users)
        counts = self.interactions.counts
        heavy = counts[user] > np.quantile(counts[counts > 0], HEAVY)
        whole = kind == ALL
        strata = {
            "warm": kind == WARM,
            "cold": kind == COLD_PART,
            "light": whole & ~heavy,
            "heavy": whole & heavy,
        }
        return Round(split, held, strata, whole)

    def training(self, train: Split) -> Interactions:
        """Give what a tuner gets: the histories, without anything that is asked for."""
        return train.history

    def evaluate(
        self, transform: Transform, rows: Rows, train: Split, metrics: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        """Give each metric of every row (len(rows),): pooled histories search all items but their own."""
        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return {name: np.empty(0) for name in metrics}
        users = train.history.users
        kind, user = np.divmod(rows, users)
        judged, slot = np.unique(user, return_inverse=True)
        queries, history = self._queries(transform, train, judged)
        relevance = _binary(train.targets.matrix()[judged] - _common(train.targets, history, judged))
        items, ids = self.interactions.items, self.interactions.item_ids
        mapped = mapped_documents(transform, items, ids)
        ranks = positive_ranks(queries, items, relevance, block=BLOCK, exclude=history, document_map=mapped)
        out = {name: np.full(len(rows), np.nan) for name in metrics}
        target = np.repeat(np.arange(len(judged)), np.diff(relevance.indptr))
        warm = train.warm[relevance.indices]
        for part, mask in ((ALL, np.ones(len(warm), bool)), (WARM, warm), (COLD_PART, ~warm)):
            these = np.flatnonzero(kind == part)
            if not len(these):
                continue
            kept = csr_matrix(
                (np.ones(mask.sum(), np.float32), (target[mask], relevance.indices[mask])), relevance.shape
            )
            kept.sort_indices()
            found = evaluate_ranks(ranks[mask], kept, metrics)
            for name in metrics:
                out[name][these] = found[name][slot[these]]
        return out

    def coverage(self, transform: Transform, train: Split, k: int = 20, seed: int = 0) -> float:
        """Share of all items that are among the first ``k`` of any of up to 3,000 users."""
        judged = np.flatnonzero(train.history.counts)
        if len(judged) > MOST:
            judged = np.sort(np.random.default_rng(seed).choice(judged, MOST, replace=False))
        queries, history = self._queries(transform, train, judged)
        items = train.history.items
        mapped = mapped_documents(transform, items, train.history.item_ids)
        found, _ = top_k(queries, items, k, block=BLOCK, exclude=history, document_map=mapped)
        return len(np.unique(found[found >= 0])) / max(len(items), 1)

    def _queries(self, transform: Transform, train: Split, judged: Rows) -> tuple[Vectors, csr_matrix]:
        """Pooled histories (u, d'), and the histories as a matrix of ones (u, N)."""
        data = train.history
        weights = data.matrix(pooling_of(transform))[judged]
        queries = pooled_histories(transform, data.items, data.item_ids, weights)
        if data.similarity == "cosine":
            queries = unit_length(queries)
        return queries, _binary(data.matrix()[judged])


def _common(targets: Interactions, history: csr_matrix, judged: Rows) -> csr_matrix:
    """Targets that are in the history already: choosing something again is not asked for."""
    return csr_matrix(targets.matrix()[judged].multiply(history))


def _binary(x: csr_matrix | Any) -> csr_matrix:
    x = csr_matrix(x)
    x.eliminate_zeros()
    x.sort_indices()
    x.data = np.ones_like(x.data)
    return x
