"""Where the cache lives, how large it may be, and how room is made in it."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

import platformdirs

from embedtune.errors import UserError
from embedtune.files import TEMPORARY

logger = logging.getLogger(__name__)

DEFAULT_SIZE = 4 * 1000**3
"""Bytes that the cache may take on disk."""

STALE = 3600.0
"""Seconds after which an unfinished file was left behind by a process that died."""

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def cache_folder() -> Path:
    """Give the folder of the cache: ``EMBEDTUNE_CACHE_DIR``, or the user's cache folder."""
    return Path(
        os.environ.get("EMBEDTUNE_CACHE_DIR") or platformdirs.user_cache_dir("embedtune")
    ).expanduser()


def cache_size() -> int:
    """Give the bound of the cache in bytes: ``EMBEDTUNE_CACHE_SIZE`` (``500M``, ``4G``, ``0``), or 4 GB.

    Raises
    ------
    UserError
        When the variable is not a size.
    """
    given = os.environ.get("EMBEDTUNE_CACHE_SIZE", "")
    if not given:
        return DEFAULT_SIZE
    number = given.strip().upper().removesuffix("B")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        size = int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        size = -1
    if size < 0:
        raise UserError(
            f"{given!r} is not a size",
            where="EMBEDTUNE_CACHE_SIZE",
            fix="give bytes, or a number with K, M, G or T",
        )
    return size


def make_room(folder: Path, needed: int, size: int, *, used_since: float) -> bool:
    """Remove the least recently used files of the cache until ``needed`` more bytes fit into ``size``.

    Files used at or after ``used_since`` (seconds since the epoch) stay: a run that is larger than the
    whole cache must not push out its own beginning.

    Returns
    -------
    bool
        Whether there is room now.
    """
    files, total = [], 0
    for path in [*folder.glob("vectors/*/*"), *folder.glob("converted/*"), *folder.glob("exports/*/*")]:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.name.startswith(TEMPORARY) and time.time() - stat.st_mtime > STALE:
            remove(path)
            continue
        total += stat.st_size
        files.append((stat.st_mtime, stat.st_size, path))
    for used, length, path in sorted(files):
        if total + needed <= size or used >= used_since:
            break
        if not path.name.startswith(TEMPORARY):
            remove(path)
            total -= length
    return total + needed <= size


def remove_stale(folder: Path) -> None:
    """Remove unfinished files of processes that died."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE:
                remove(path)


def remove(path: Path) -> None:
    """Remove a file that another process may have removed already, or holds open."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # open in another process on a system that forbids it
        logger.debug("could not remove %s: %s", path, error)
