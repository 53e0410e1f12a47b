"""Folders that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from embedtune.errors import DiskFull, OutputExists, UserError
from embedtune.files import FULL, TEMPORARY


@contextlib.contextmanager
def new_folder(target: Path, *, replaces: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Give a temporary folder beside ``target`` that takes its place when the block ends well.

    After an error, a full disk or Ctrl-C the temporary folder is gone, and what was at ``target``
    is still there.

    Parameters
    ----------
    target : pathlib.Path
        The folder to make; missing parents are made too.
    replaces : callable, optional
        Asked whether the folder at ``target`` may be replaced; without it none may.

    Raises
    ------
    OutputExists
        When ``target`` exists and may not be replaced.
    DiskFull
        When there is no room.
    UserError
        When the place cannot be written.
    """
    refuse_existing(target, replaces)
    temporary = _beside(target)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _put_in_place(temporary, target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno in FULL or isinstance(
            error, DiskFull
        ):  # which may name a file in the temporary folder
            raise DiskFull(
                f"no room left on the disk for {target}: free some, or choose another folder"
            ) from None
        if isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)):
            raise UserError(
                f"the folder cannot be written ({error.strerror})",
                where=str(target),
                fix="choose another folder",
            ) from None
        raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_existing(
    target: Path,
    replaces: Callable[[Path], bool] | None = None,
    *,
    fix: str = "choose another folder",
) -> None:
    """Raise OutputExists where ``target`` exists and may not be replaced; call it before long work."""
    if not os.path.lexists(target):
        return
    if replaces is None:
        raise OutputExists(
            "the output exists already",
            where=str(target),
            fix=fix,
        )
    if not replaces(target):
        raise OutputExists(
            "this is not an embedtune artifact, so it is not overwritten",
            where=str(target),
            fix="choose another folder",
        )


def _beside(target: Path) -> Path:
    return target.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{target.name[:40]}")


def _put_in_place(temporary: Path, target: Path) -> None:
    if not os.path.lexists(target):
        temporary.rename(target)
        return
    old = _beside(target)
    target.rename(old)
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
