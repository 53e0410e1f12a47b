"""What stores share whose versions are collections of their own, beside the live one."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from embedtune.cache_place import cache_folder
from embedtune.errors import DiskFull
from embedtune.stores.base import LIVE, Batch, Nulls
from embedtune.stores.notes import file_lock, note_file, read_json, write_json

NO_ROOM = ("no space left", "disk is full", "out of disk", "disk quota")
"""What servers say of a full disk, in lower case."""


def refuse_full(message: str, url: str) -> None:
    """Raise where a server's message tells of a full disk.

    Raises
    ------
    DiskFull
        The new version is taken away then, as it could not be gone on with.
    """
    if any(one in message.lower() for one in NO_ROOM):
        raise DiskFull(f"{url}: no room left on the server's disk for the new version: free some") from None


class Copies:
    """Locks and notes on this machine, in embedtune's cache; every pass goes through all rows.

    A subclass sets ``url`` and scans; a row is what it was if its vector and what goes along with it are.
    """

    url: str
    tolerance = 0.0
    readable = searchable = True
    tracks = False
    writers = 1
    rows_a_second = 500.0

    @property
    def _note(self) -> Path:
        return note_file(self.url)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold a file on this machine: runs on other machines are not seen."""
        cache_folder().mkdir(parents=True, exist_ok=True)
        with file_lock(self._note.with_suffix(".lock"), self.url):
            yield

    def read_note(self) -> dict[str, Any]:
        """Give the note that was kept on this machine."""
        return read_json(self._note)

    def write_note(self, note: dict[str, Any]) -> None:
        """Keep a note on this machine."""
        write_json(self._note, note)

    def nulls(self) -> Nulls:
        """There are none: such a store takes no row without a vector."""
        return Nulls()

    def pending(self, version: str, batch: int) -> Generator[Batch]:
        """Go through all live rows."""
        yield from self.scan(batch, LIVE)

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through all rows of a version."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held open."""
