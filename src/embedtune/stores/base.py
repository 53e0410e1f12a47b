"""What a vector store must be able to do, and what travels between a store and the rest."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Similarity, Vectors

Id = int | str
"""What a store calls a row; maps that know items are given ``str(id)``."""

LIVE = ""
"""The version that readers see."""

BASE = "base"
"""The version that was live before the switch, kept for going back."""


class Batch(NamedTuple):
    """Rows of a store."""

    ids: list[Id]
    vectors: Vectors
    """float32 (n, d), as they are stored; nothing is normalised here."""
    marks: Any = None
    """What tells the store whether a row has changed since it was read; handed back to ``write``."""
    there: Vectors | None = None
    """From ``pending``: the same rows of the new version, NaN where there is none."""


@dataclass(frozen=True)
class Nulls:
    """Rows without a vector: they stay as they are."""

    count: int = 0
    first: tuple[Id, ...] = ()
    """The first few ids."""


@dataclass(frozen=True)
class Layout:
    """Which versions a store holds, seen from what is there, not from notes."""

    base: bool = False
    """Whether the version before the last switch is still there."""
    others: tuple[str, ...] = field(default=())
    """Versions beside the live one: unfinished, or rolled back."""


@runtime_checkable
class Store(Protocol):
    """A place where vectors lie, in versions of which readers see one.

    Versions are :data:`LIVE`, :data:`BASE`, and names of letters and digits. Every method may be called
    again after a kill at any point: what is done already is left as it is.
    """

    url: str
    """Where it is, with passwords masked."""
    dimension: int
    """Of the live version."""
    tolerance: float
    """How far a coordinate may be from what was written, relative to the vector's length: 0 where vectors are
    kept to the bit, more where the store normalises or rounds them."""
    writers: int
    """Threads that may call ``write`` at once."""
    readable: bool
    """Whether a new version can be read before the switch, to compare it."""
    searchable: bool
    """Whether a new version can be searched before the switch."""
    tracks: bool
    """Whether ``pending`` gives exactly the rows that have no vector in the new version, or an old one."""

    def count(self, version: str = LIVE) -> int:
        """Count the rows of a version that have a vector."""
        ...

    def nulls(self) -> Nulls:
        """Find the rows whose live vector is null or not finite."""
        ...

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through all rows of a version that have a vector, at most about ``batch`` at a time."""
        ...

    def fetch(self, ids: Sequence[Id], version: str = LIVE) -> Batch:
        """Give the rows called ``ids`` that are there, in any order."""
        ...

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Give the texts of rows; empty where the store has none, or does not know which field it is."""
        ...

    def layout(self) -> Layout:
        """Say which versions are there."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Keep every other apply out, until the block or the process ends.

        Raises
        ------
        StoreError
            When another one is in progress.
        """
        ...

    def prepare(self, version: str, dimension: int) -> None:
        """Make room for a version, or find the one that was begun."""
        ...

    def pending(self, version: str, batch: int) -> Generator[Batch]:
        """Go through the live rows that a version may lack: those that do, or all, see ``tracks``."""
        ...

    def write(self, version: str, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> int:
        """Write rows of a version, there already or not, and give how many; a batch is written whole.

        Rows that have changed since they were read are left out, where ``marks`` tell.
        """
        ...

    def forget(self, version: str, batch: int) -> int:
        """Remove rows of a version that are not live any more; give their number."""
        ...

    def index(self, version: str, similarity: Similarity) -> str:
        """Index a version as the live one is; say what was built, nothing where there is no index."""
        ...

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Give the ids of the best ``k`` rows of each query as the store's own index finds them.

        ``effort`` is how many candidates the index looks at, where that can be set.
        """
        ...

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Make a version live in one step, and the live one :data:`BASE`; ``catch_up`` first."""
        ...

    def rollback(self, version: str) -> None:
        """Make :data:`BASE` live again in one step; what was live becomes ``version``."""
        ...

    def discard(self, version: str) -> None:
        """Remove a version that is not live."""
        ...

    def read_note(self) -> dict[str, Any]:
        """Give what ``write_note`` kept; empty where nothing was."""
        ...

    def write_note(self, note: dict[str, Any]) -> None:
        """Keep a small JSON with the store: which artifact is live, which was begun."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class CatchUp(Protocol):
    """Writes what is pending; the store calls it when nobody else can write, where it has such a moment."""

    def __call__(self) -> int:
        """Give the number of rows that were written."""
        ...


def in_order(batch: Batch, ids: Sequence[Id]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the places of ``ids`` that ``batch`` has, and the rows of the batch that belong to them."""
    row = {name: i for i, name in enumerate(batch.ids)}
    found = [(place, row[name]) for place, name in enumerate(ids) if name in row]
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
