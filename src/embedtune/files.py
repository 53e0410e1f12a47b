"""Files that are either whole or not there: atomic writes, and checksums that are computed once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from embedtune.errors import DiskFull

TEMPORARY = ".tmp-"
"""How the names of unfinished files begin."""

FULL = {errno.ENOSPC, errno.EDQUOT}
"""Codes of the operating system for a disk, or a user's share of it, with no room left."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    Readers see the old file or the new one, never half of one; after an error or a kill the old
    one is still there.

    Parameters
    ----------
    path : pathlib.Path
        The file to write; its folder is made if it is missing.

    Raises
    ------
    DiskFull
        When there is no room; the temporary file has been removed.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{path.name[:40]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
        temporary.replace(path)
    except OSError as error:
        _discard(temporary)
        if error.errno in FULL:
            raise DiskFull(
                f"no room left on the disk for {path}: free some, or choose another folder"
            ) from None
        raise
    except BaseException:
        _discard(temporary)
        raise


def sha256_file(path: Path) -> str:
    """Give the sha256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # it may never have been made
        temporary.unlink()
