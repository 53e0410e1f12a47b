"""Exceptions to exit codes: one line on stderr, and no traceback unless it is asked for."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec

import typer

from embedtune.errors import EmbedtuneError
from embedtune.files import FULL

MISTAKE, CHECK_FAILED, INTERRUPTED = 2, 3, 130
"""Exit codes besides 0, and 1 for defects."""

P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Give ``command`` with every exception of embedtune's turned into a line and an exit code.

    With ``EMBEDTUNE_DEBUG=1`` in the environment the traceback is printed too. Other exceptions are
    defects, and are passed on with theirs; but for a full disk, which may be met anywhere.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except EmbedtuneError as error:
            raise typer.Exit(_report(str(error), MISTAKE)) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            _drop_stdout()
            where = f" for {error.filename}" if error.filename else ""
            raise typer.Exit(_report(f"no room left on the disk{where}: free some", MISTAKE)) from None
        except KeyboardInterrupt as stopped:
            line = (
                str(stopped)
                or f"interrupted: {command.__name__} was stopped; vectors encoded so far are kept"
            )
            raise typer.Exit(_report(line, INTERRUPTED)) from None

    return run


def _report(message: str, code: int) -> int:
    """Print the exception in flight as one line on stderr; give the exit code."""
    if os.environ.get("EMBEDTUNE_DEBUG", "0") not in ("", "0"):
        traceback.print_exc(file=sys.stderr)
    prefix = "" if code == INTERRUPTED else "error: "
    typer.echo(prefix + " ".join(message.split()), err=True)
    return code


def _drop_stdout() -> None:
    """Keep Python from writing to a full standard output once more as it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
