"""What was wrong with the rows: raised at once in strict reading, gathered in lenient reading."""

from __future__ import annotations

from dataclasses import dataclass, field

from embedtune.errors import DataError


@dataclass(frozen=True)
class Problem:
    """One row that cannot be used as it stands."""

    code: str
    """Its kind, a code of :mod:`embedtune.data.checks`: ``"duplicate-ids"``, ``"missing-ids"``, …"""
    what: str
    """What is wrong, with the value seen."""
    file: str
    """File it stands in, or the name of the data in memory."""
    line: int
    """Line in a text file, row in a table, both from 1; 0 where the whole file is meant."""
    fix: str
    """How to mend it."""
    text: str = ""
    """The text concerned, where there is one."""


@dataclass
class Problems:
    """Where readers report the problems that a dataset can live with.

    Parameters
    ----------
    strict : bool
        Raise the first one as a :class:`~embedtune.errors.DataError`; otherwise keep them in ``found``,
        and the reader leaves the row out.
    """

    strict: bool = True
    found: list[Problem] = field(default_factory=list)

    def add(self, code: str, what: str, *, file: str, line: int, fix: str, text: str = "") -> None:
        """Report one problem.

        Raises
        ------
        DataError
            When reading is strict.
        """
        if self.strict:
            raise DataError(what, where=place(file, line), fix=fix)
        self.found.append(Problem(code, what, file, line, fix, text))


def place(file: str, line: int) -> str:
    """Write a place as ``file:line``, or ``file`` alone where the line is 0."""
    return f"{file}:{line}" if line else file
