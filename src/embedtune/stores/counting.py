"""What is wrong with the rows of a store, counted in one pass that keeps hashes of them and no vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedtune.stores.base import Batch, Id, Store
from embedtune.stores.verify import RowSample

FIRST = 10
"""Ids that are named."""

UNIT = 1e-2
"""How far from 1 a length may be and still count as unit length; float16 and int8 stores round."""


@dataclass
class Rows:
    """Some rows of one kind: how many, and the first few ids."""

    count: int = 0
    first: list[Id] = field(default_factory=list)

    def add(self, ids: list[Id], rows: NDArray[np.int64]) -> None:
        """Count rows of a batch."""
        self.count += len(rows)
        self.first += [ids[row] for row in rows[: FIRST - len(self.first)].tolist()]


@dataclass
class Counted:
    """What a pass over a store found."""

    vectors: int
    """Rows with a vector."""
    null: Rows
    """Rows without one, or whose vector is not finite."""
    zero: Rows
    repeated: Rows
    """Rows with the bytes of an earlier row, the zero ones aside."""
    not_unit: Rows
    """Rows whose length is neither 1 nor 0."""
    sample: Batch
    """Rows drawn evenly."""


def count_rows(store: Store, *, batch: int, seed: int) -> Counted:
    """Go once through the live rows of a store.

    Memory is that of a batch and eight bytes a row.
    """
    absent = store.nulls()
    null, zero, repeated, not_unit = Rows(absent.count, list(absent.first[:FIRST])), Rows(), Rows(), Rows()
    sample, seen, vectors = RowSample(store.dimension, seed), _Seen(), 0
    for found in store.scan(batch):
        x = np.ascontiguousarray(found.vectors, np.float32)
        finite = np.isfinite(x).all(axis=1)
        null.add(found.ids, np.flatnonzero(~finite))
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
        zero.add(found.ids, np.flatnonzero(finite & (length == 0)))
        not_unit.add(found.ids, np.flatnonzero(finite & (length > 0) & (np.abs(length - 1) > UNIT)))
        there = np.flatnonzero(finite & (length > 0))
        repeated.add(found.ids, there[seen.again(_hashes(x[there]))])
        right = np.flatnonzero(finite)
        sample.add(found if len(right) == len(x) else Batch([found.ids[i] for i in right.tolist()], x[right]))
        vectors += len(right)
    return Counted(vectors, null, zero, repeated, not_unit, sample.rows())


def _hashes(x: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Give 64 bits of each row's BLAKE2b: of ten million rows two share it by chance in one of 400,000."""
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in x)
    return np.frombuffer(digests, np.uint64)


class _Seen:
    """Hashes that went by, in sorted arrays each at least twice as long as the next."""

    def __init__(self) -> None:
        self._sorted: list[NDArray[np.uint64]] = []

    def again(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give the places of hashes that have been here before, in this batch or an earlier one."""
        new, first = np.unique(hashes, return_index=True)
        before = np.ones(len(hashes), bool)
        before[first] = False
        known = np.zeros(len(new), bool)
        for one in self._sorted:
            places = np.minimum(np.searchsorted(one, new), len(one) - 1)
            known |= one[places] == new
        before[first[known]] = True
        self._keep(new[~known])
        return np.flatnonzero(before)

    def _keep(self, new: NDArray[np.uint64]) -> None:
        if not len(new):
            return
        while self._sorted and len(self._sorted[-1]) < 2 * len(new):
            new = np.sort(np.concatenate([self._sorted.pop(), new]), kind="stable")
        self._sorted.append(new)
