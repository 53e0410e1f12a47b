"""Training data of recommendation: who chose what, in which order, and the items' vectors."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.transforms.pooling import Pooling
from embedtune.types import Similarity, Vectors

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Interactions:
    """Histories of users over items; by user, and within a user from the earliest to the latest.

    Build one with :meth:`of`, which sorts and keeps the latest of repeated choices.

    Parameters
    ----------
    items : float32 array of shape (N, d)
        Content vectors, unit length where the similarity is cosine; may be memory-mapped.
    user, item : int32 arrays of shape (t,)
        Who chose what; users are numbered from 0 to ``users`` - 1.
    rating : float32 array of shape (t,), optional
        What the user thought of it.
    time : int32 array of shape (t,), optional
        The place of its time among all times that there are; None where it is not known.
    item_ids : sequence of str
        Names of the items' rows.
    users : int
        Number of users, with or without interactions.
    similarity : str
        ``"cosine"`` or ``"dot"``.
    """

    items: Vectors
    user: Rows
    item: Rows
    rating: NDArray[np.float32] | None
    time: Rows | None
    item_ids: Sequence[str]
    users: int
    similarity: Similarity = "cosine"
    settled: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What a tuner has chosen on just these before, for those that would choose the same."""

    @classmethod
    def of(
        cls,
        items: Vectors,
        user: NDArray[Any],
        item: NDArray[Any],
        item_ids: Sequence[str],
        *,
        rating: NDArray[Any] | None = None,
        time: NDArray[Any] | None = None,
        users: int | None = None,
        similarity: Similarity = "cosine",
    ) -> Interactions:
        """Sort by user and time; of a choice made twice the latest counts."""
        user, item = np.asarray(user, np.int32), np.asarray(item, np.int32)
        order = np.lexsort((user,) if time is None else (time, user))
        pair = user[order].astype(np.int64) * len(items) + item[order]
        _, last = np.unique(pair[::-1], return_index=True)
        order = order[np.sort(len(pair) - 1 - last)]
        places = None if time is None else np.unique(time, return_inverse=True)[1][order]
        return cls(
            items,
            user[order],
            item[order],
            None if rating is None else np.asarray(rating, np.float32)[order],
            None if places is None else places.astype(np.int32),
            item_ids,
            int(user.max(initial=-1)) + 1 if users is None else users,
            similarity,
        )

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Interactions of each user, (users,)."""
        return np.bincount(self.user, minlength=self.users)

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """Interactions of each item, (N,)."""
        return np.bincount(self.item, minlength=len(self.items))

    @cached_property
    def place(self) -> Rows:
        """Place of each interaction in its user's history, from 0, (t,)."""
        start = np.cumsum(self.counts) - self.counts
        return np.arange(len(self), dtype=np.int32) - start.astype(np.int32)[self.user]

    @cached_property
    def age(self) -> Rows:
        """0 for the user's latest interaction, 1 for the one before, (t,); all 0 where time is not known."""
        if self.time is None:
            return np.zeros(len(self), np.int32)
        return self.counts.astype(np.int32)[self.user] - 1 - self.place

    @cached_property
    def liking(self) -> NDArray[np.float64] | None:
        """Rating minus the user's mean rating, (t,)."""
        if self.rating is None:
            return None
        mean = np.bincount(self.user, self.rating, self.users) / np.maximum(self.counts, 1)
        return np.asarray(self.rating - mean[self.user])

    def matrix(self, pooling: Pooling | None = None) -> csr_matrix:
        """Weights of interactions, float32 (users, N): ones, or those of ``pooling``."""
        weight = np.ones(len(self), np.float32)
        if pooling is not None:
            weight = pooling.weights(self.age, self.liking)
        shape = (self.users, len(self.items))
        return csr_matrix((weight, (self.user, self.item)), shape=shape)

    def take(self, kept: NDArray[Any]) -> Interactions:
        """Keep some interactions, by mask or ascending rows; users and items keep their numbers."""
        return replace(
            self,
            user=self.user[kept],
            item=self.item[kept],
            rating=None if self.rating is None else self.rating[kept],
            time=None if self.time is None else self.time[kept],
        )

    @cached_property
    def among_chosen(self) -> Interactions:
        """The items that somebody chose alone, numbered anew in their order.

        For what is fitted to choices alone: the items' vectors are zeros that take no memory.
        """
        chosen = np.flatnonzero(self.popularity)
        return replace(
            self,
            items=np.broadcast_to(np.float32(0), (len(chosen), self.items.shape[1])),
            item=np.searchsorted(chosen, self.item).astype(np.int32),
            item_ids=[self.item_ids[row] for row in chosen.tolist()],
        )

    def last(self, share: float = 0.1, seed: int = 0) -> NDArray[np.bool_]:
        """Mark the latest ``share`` of each user's interactions, (t,): at least one, and never all.

        Where time is not known, a random share. Users with a single interaction have none marked.
        """
        place = self.place
        if self.time is None:
            shuffled = np.lexsort((np.random.default_rng(seed).random(len(self)), self.user))
            place = np.empty_like(shuffled)
            place[shuffled] = self.place
        hold = np.maximum((share * self.counts + 0.5).astype(np.int64), self.counts > 1)
        return np.asarray(place >= (self.counts - hold)[self.user])
