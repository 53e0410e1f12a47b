"""Fingerprints of files: sha256 of their content, computed once for as long as they do not change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from embedtune.cache_place import cache_folder
from embedtune.files import atomic_write, sha256_file

logger = logging.getLogger(__name__)

LARGE = 1_000_000
"""Files from this many bytes on have their hash remembered."""


def file_hash(path: Path) -> str:
    """Give the sha256 of a file; a large one is read again only after its size or time stamp changed."""
    stat = path.stat()
    if stat.st_size < LARGE:
        return sha256_file(path)
    where = str(path.resolve())
    note = cache_folder() / "hashes" / f"{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"
    seen = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(note.read_text("utf-8"))
        if {key: known[key] for key in seen} == seen:
            return str(known["sha256"])
    digest = sha256_file(path)
    try:
        with atomic_write(note) as file:
            file.write(json.dumps({**seen, "sha256": digest}).encode())
    except OSError as error:
        logger.debug("the hash of %s is not remembered: %s", path, error)
    return digest


def folder_hash(folder: Path, files: Iterable[Path]) -> str:
    """Give one sha256 for ``files`` inside ``folder``: their relative names and contents."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_hash(path)}\n".encode())
    return digest.hexdigest()
