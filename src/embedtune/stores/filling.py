"""What a new version lacks is read, mapped and written, pass by pass, until nothing is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from embedtune.stores.base import Batch, Id, Store
from embedtune.stores.mapping import DocumentMap
from embedtune.stores.verify import agree
from embedtune.types import Vectors

PASSES = 50
"""Passes over a store that others keep writing to, before it is left to the switch."""


class Filling:
    """Fills one version.

    Parameters
    ----------
    store : Store
        Of which ``pending`` says what is to do.
    version : str
        What is written.
    mapped : DocumentMap
        What a row's vector becomes.
    batch : int
        Rows handled at a time.
    tell : callable
        Called with (done, total).
    """

    def __init__(
        self,
        store: Store,
        version: str,
        mapped: DocumentMap,
        batch: int,
        tell: Callable[[int, int], None],
    ) -> None:
        self.store, self.version, self.mapped, self.batch, self.tell = store, version, mapped, batch, tell
        self.written = 0
        self.done = 0
        """Rows that an earlier run has written, where the store tells what is left."""

    def __call__(self, rows: int) -> int:
        """Make passes until one finds nothing to do, or others write as fast; give how much was written."""
        before, total = None, 0
        for _ in range(PASSES):
            wrote = self.once(rows)
            total += wrote
            if not wrote or (before is not None and wrote >= before):
                break
            before = wrote
        return total

    def once(self, rows: int | None = None) -> int:
        """Write what the new version lacks; give the number of rows that differed."""
        done, wrote = self.done, 0
        empty = not self.store.tracks and not self.store.count(self.version)
        with Writers(self.store, self.version) as writers:
            for found in self.store.pending(self.version, self.batch):
                made = self.mapped(found.ids, found.vectors)
                left = range(len(made)) if self.store.tracks or empty else self._different(found, made)
                if len(left) == len(made):
                    writers.write(found.ids, made, found.marks)
                elif len(left):
                    writers.write([found.ids[i] for i in left], made[list(left)])
                wrote += len(left)
                done += len(made)
                if rows:
                    self.tell(min(done, rows), rows)
        self.written += writers.wrote
        return wrote + self.store.forget(self.version, self.batch)

    def _different(self, found: Batch, made: Any) -> list[int]:
        """Give the rows that the new version does not have, or has otherwise."""
        if found.there is not None:
            return [int(i) for i in np.flatnonzero(~agree(self.store, made, found.there))]
        there = self.store.fetch(found.ids, self.version)
        row = {name: i for i, name in enumerate(there.ids)}
        known = [i for i, name in enumerate(found.ids) if name in row]
        if not known:
            return list(range(len(made)))
        same = agree(self.store, made[known], there.vectors[[row[found.ids[i]] for i in known]])
        kept = {i for i, right in zip(known, same, strict=True) if right}
        return [i for i in range(len(made)) if i not in kept]


class Writers:
    """Writes batches in as many threads as a store allows, with few of them waiting."""

    def __init__(self, store: Store, version: str) -> None:
        self._store, self._version, self.wrote = store, version, 0
        self._pool = ThreadPoolExecutor(store.writers) if store.writers > 1 else None
        self._waiting: deque[Future[int]] = deque()

    def write(self, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> None:
        """Write a batch, or hand it to a thread; raises what an earlier one raised there."""
        if self._pool is None:
            self.wrote += self._store.write(self._version, ids, vectors, marks)
            return
        if len(self._waiting) > self._store.writers:
            self.wrote += self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._store.write, self._version, ids, vectors, marks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(cancel_futures=error[0] is not None)
        if error[0] is None:
            self.wrote += sum(one.result() for one in self._waiting)
