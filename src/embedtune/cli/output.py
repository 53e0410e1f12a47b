"""What commands show and write: text for people, JSON for programs, never mixed on one stream."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune.errors import UserError
from embedtune.files import atomic_write

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

STDOUT = "-"
"""The name of standard output, as a FILE."""


class Output:
    """Where a command's text and its JSON go.

    Parameters
    ----------
    json_file : str, optional
        The command's ``--json``; with ``-`` the JSON goes to standard output and all text to standard error.

    Raises
    ------
    UserError
        When the file could not be written; asked before any work is done.
    """

    def __init__(self, json_file: str | None = None) -> None:
        self._json = json_file
        if json_file is not None and json_file != STDOUT:
            _refuse_unwritable(Path(json_file))

    @cached_property
    def console(self) -> Console:
        """The console for people."""
        from rich.console import Console

        return Console(stderr=self._json == STDOUT, highlight=False)

    def say(self, text: str = "") -> None:
        """Show a text as it is."""
        self.console.print(text, markup=False, soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Show a table, a panel."""
        self.console.print(what)

    def write(self, result: Mapping[str, Any]) -> None:
        """Write the result as JSON, if that was asked for.

        Raises
        ------
        DiskFull
            When there is no room; nothing half-written is left.
        """
        if self._json is None:
            return
        text = json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if self._json == STDOUT:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        with atomic_write(Path(self._json)) as file:
            file.write(text.encode())


def plain(value: Any) -> Any:
    """Give ``value`` as JSON knows it: paths and numpy scalars unpacked, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def shorten(text: str, width: int) -> str:
    """Give a text on one line, cut to ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _refuse_unwritable(path: Path) -> None:
    parent = path.absolute().parent
    if path.is_dir():
        raise UserError(
            "this is a folder", where=str(path), fix="give --json a file, or - for standard output"
        )
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError("its folder cannot be written", where=str(path), fix="give --json another file")
