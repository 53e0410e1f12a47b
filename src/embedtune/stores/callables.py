"""A store made of functions: one gives rows, one takes them; more of them make it safer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import numpy as np

from embedtune.errors import StoreError
from embedtune.stores.base import LIVE, Batch, CatchUp, Id, Layout
from embedtune.stores.copies import Copies
from embedtune.types import Similarity, Vectors


class CallableStore(Copies):
    """Rows from one function, to another.

    What was written is known while the object lives: rows that change meanwhile are written again, and a new
    run begins anew. Of each row its id and 16 bytes are kept in memory.

    Parameters
    ----------
    scan : callable
        Gives batches of (ids, vectors) whenever it is called; vectors float (n, d), no more rows than memory
        should hold.
    write : callable
        Takes ids and mapped vectors, float32 (n, d'); may be given the same id again.
    read : callable, optional
        Takes ids and gives (ids, vectors) of what was written. Without it the sample is not compared.
    search : callable, optional
        Takes queries (m, d') and k, and gives lists of ids, best first, as the new index finds them. Without
        it recall and metric are not measured.
    texts : callable, optional
        Takes ids and gives a dict of texts, to be encoded again as probes.
    delete : callable, optional
        Takes ids that are gone since they were written.
    switch : callable, optional
        Called without arguments at the end, to let readers see what was written.
    name : str
        What it is called in messages.

    Raises
    ------
    StoreError
        When ``scan`` gives no vectors.

    Examples
    --------
    >>> made = {}
    >>> store = CallableStore(
    ...     scan=lambda: [(["a", "b"], np.eye(2))],
    ...     write=lambda ids, vectors: made.update(zip(ids, vectors, strict=True)),
    ... )
    >>> store.count(), store.dimension
    (2, 2)
    """

    tracks = True

    def __init__(
        self,
        *,
        scan: Callable[[], Iterable[tuple[Sequence[Id], Any]]],
        write: Callable[[list[Id], Vectors], object],
        read: Callable[[list[Id]], tuple[Sequence[Id], Any]] | None = None,
        search: Callable[[Vectors, int], list[list[Id]]] | None = None,
        texts: Callable[[list[Id]], dict[Id, str]] | None = None,
        delete: Callable[[list[Id]], object] | None = None,
        switch: Callable[[], object] | None = None,
        name: str = "callables",
    ) -> None:
        self.url = name
        self._scan, self._write, self._read, self._search = scan, write, read, search
        self._texts, self._delete, self._switch = texts, delete, switch
        self._seen: dict[Id, bytes] = {}
        self.readable, self.searchable = read is not None, search is not None
        first = next(self.scan(1), None)
        if first is None:
            raise StoreError("scan gives no vectors", where=name, fix="give at least one row")
        self.dimension = int(first.vectors.shape[1])

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through what the function gives."""
        for ids, vectors in self._scan():
            rows = np.ascontiguousarray(vectors, np.float32)
            for first in range(0, len(rows), max(batch, 1)):
                yield Batch(list(ids[first : first + batch]), rows[first : first + batch])

    def count(self, version: str = LIVE) -> int:
        """Count rows."""
        return len(self._seen) if version != LIVE else sum(len(rows.ids) for rows in self.scan(65536))

    def fetch(self, ids: Sequence[Id], version: str = LIVE) -> Batch:
        """Give rows by id: of the new version what ``read`` gives."""
        if version != LIVE and self._read is not None:
            names, vectors = self._read(list(ids))
            return Batch(list(names), np.ascontiguousarray(vectors, np.float32))
        wanted, found, parts = set(ids), [], []
        for rows in self.scan(65536):
            here = [i for i, name in enumerate(rows.ids) if name in wanted]
            if here:
                found += [rows.ids[i] for i in here]
                parts.append(rows.vectors[here])
        return Batch(found, np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32))

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Give what the function gives."""
        return {} if self._texts is None else self._texts(list(ids))

    def layout(self) -> Layout:
        """Say that there is nothing to find: what was written lies where the caller knows."""
        return Layout()

    def prepare(self, version: str, dimension: int) -> None:
        """Forget what was written before."""
        self._seen.clear()

    def pending(self, version: str, batch: int) -> Generator[Batch]:
        """Go through the rows that were not written yet, or have changed since."""
        for rows in self.scan(batch):
            marks = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows.vectors]
            new = [i for i, name in enumerate(rows.ids) if self._seen.get(name) != marks[i]]
            if new:
                yield Batch([rows.ids[i] for i in new], rows.vectors[new], [marks[i] for i in new])

    def write(self, version: str, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> int:
        """Hand rows to the function."""
        self._write(list(ids), vectors)
        self._seen.update(zip(ids, marks or [b""] * len(ids), strict=True))
        return len(ids)

    def forget(self, version: str, batch: int) -> int:
        """Hand the ids of rows that are gone to ``delete``."""
        there = {name for rows in self.scan(batch) for name in rows.ids}
        gone = [name for name in self._seen if name not in there]
        if gone and self._delete is not None:
            self._delete(gone)
        for name in gone:
            del self._seen[name]
        return len(gone)

    def index(self, version: str, similarity: Similarity) -> str:
        """Nothing is known of an index."""
        return ""

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search with the function."""
        return [] if self._search is None else self._search(queries, k)

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Catch up, and call the function."""
        while catch_up():
            pass
        if self._switch is not None:
            self._switch()

    def rollback(self, version: str) -> None:
        """Refuse: there is only what the caller kept."""
        raise StoreError("there is no version to go back to", where=self.url, fix="use what was there before")

    def discard(self, version: str) -> None:
        """Forget what was written."""
        self._seen.clear()

    def read_note(self) -> dict[str, Any]:
        """Give nothing: a run does not outlive the object."""
        return {}

    def write_note(self, note: dict[str, Any]) -> None:
        """Keep nothing."""
