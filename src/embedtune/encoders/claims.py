"""Who pays for which text: processes that share a cache tell one another, so that no two pay for the same.

A process writes the keys of the texts that it is about to send into a file, and holds the system's lock on
the file while it works. A lock ends with its process, however that ends: a claim without one is void. Where
the system or the file system has no such locks, nobody waits, and two processes may both pay.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(folder: Path, keys: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
    """Claim texts that no other process has claimed, until the block ends.

    Parameters
    ----------
    folder : pathlib.Path
        Where the claims of one encoder lie; made if it is missing.
    keys : uint8 array of shape (n, 32)
        Of the texts.

    Yields
    ------
    bool array of shape (n,)
        Which are this process's to pay for. What was paid for by others before is in the cache by now.
    """
    own = np.ones(len(keys), bool)
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            try:
                own = _claim(folder, keys, stack)
            except OSError as error:
                logger.debug("no claims in %s: %s", folder, error)
        yield own


def _claim(folder: Path, keys: NDArray[np.uint8], stack: contextlib.ExitStack) -> NDArray[np.bool_]:
    """Read the others' claims and write one's own; one process at a time."""
    assert sys.platform != "win32"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        taken = {key for path in folder.glob("*.keys") for key in _alive(path)}
        own = np.fromiter((key.tobytes() not in taken for key in keys), bool, len(keys))
        path = folder / f"{os.getpid()}-{secrets.token_hex(8)}.keys"
        file = stack.enter_context(path.open("xb"))
        stack.callback(path.unlink, missing_ok=True)
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(np.ascontiguousarray(keys[own]).tobytes())
        file.flush()
    return own


def _alive(path: Path) -> list[bytes]:
    """Give the keys of a claim whose process lives; remove one whose process does not."""
    try:
        with path.open("rb") as file:
            if _free(file):
                path.unlink(missing_ok=True)
                return []
            content = file.read()
    except FileNotFoundError:
        return []
    return [content[start : start + 32] for start in range(0, len(content), 32)]


def _free(file: Any) -> bool:
    """Say whether nobody holds the lock on a file."""
    assert sys.platform != "win32"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
