"""Locks and notes as files, for stores that have no place for them; both survive a kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedtune.cache_place import cache_folder
from embedtune.errors import StoreError
from embedtune.files import atomic_write


def note_file(url: str) -> Path:
    """Give the note's file of a store that is not on this machine, by its masked URL."""
    return cache_folder() / "stores" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


def read_json(path: Path) -> dict[str, Any]:
    """Give a note, empty where there is none or it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, note: dict[str, Any]) -> None:
    """Write a note, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(note, indent=1, sort_keys=True).encode())


@contextlib.contextmanager
def file_lock(path: Path, url: str) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends.

    Raises
    ------
    StoreError
        When another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            _take(file.fileno())
        except OSError:
            raise StoreError(
                "another apply is in progress on this store", where=url, fix="wait until it has ended"
            ) from None
        yield


def _take(descriptor: int) -> None:
    if os.name == "nt":  # pragma: no cover
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
