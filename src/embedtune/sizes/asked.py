"""What sizes the user asks for: checked, and told from the command line."""

from __future__ import annotations

from typing import Literal

from embedtune.errors import UserError

Dims = Literal["auto"] | int | None

PARTS = (1, 2, 4, 8)
"""What the number of dimensions is divided by for ``"auto"``."""


def checked_dims(dims: Dims, most_bytes: int | None, task: str | None = None) -> Dims:
    """Give ``dims``, ``"auto"`` where only bytes are limited.

    Raises
    ------
    UserError
        When they are neither ``"auto"`` nor a number above zero, or the task is not retrieval.
    """
    if most_bytes is not None and most_bytes < 1:
        raise UserError(f"{most_bytes} bytes a vector are none", fix="give a whole number from 1")
    if dims is None:
        dims = None if most_bytes is None else "auto"
    elif dims != "auto" and (not isinstance(dims, int) or isinstance(dims, bool) or dims < 1):
        raise UserError(f"dims is {dims!r}", fix="give 'auto' or a whole number from 1")
    if dims is not None and task not in (None, "retrieval"):
        raise UserError(f"dims is for retrieval in this version, not for {task}", fix="leave it out")
    return dims


def parse_dims(given: str | None) -> Dims:
    """Read what the command line gives: ``"auto"``, a number, or nothing.

    Raises
    ------
    UserError
        When it is something else.
    """
    if given is None or given == "auto":
        return given  # type: ignore[return-value]
    if not given.isdecimal():
        raise UserError(f"--dims is {given!r}", fix="give auto, or a whole number from 1")
    return int(given)


def widths(dims: Dims, width: int) -> list[int]:
    """Give the numbers of dimensions that are tried, the largest first.

    Raises
    ------
    UserError
        When there are more than the vectors have.

    Examples
    --------
    >>> widths("auto", 384)
    [384, 192, 96, 48]
    """
    if isinstance(dims, int):
        if dims > width:
            raise UserError(
                f"{dims} dimensions are more than the {width} that the base has",
                fix=f"give a whole number from 1 to {width}",
            )
        return [dims]
    return list(dict.fromkeys(max(1, width // part) for part in PARTS))
