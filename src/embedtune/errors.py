"""Every exception that embedtune raises on purpose.

::

    EmbedtuneError
    ├── UserError (ValueError)      the input is wrong; the CLI prints one line and exits with 2
    │   ├── DataError               a dataset: file, line and column where known
    │   ├── VectorError             vectors: NaN, infinite, zero, of the wrong shape
    │   ├── ModelNotFound           a base model that cannot be found or reached
    │   ├── TextsFailed             texts that an API gave no vector for
    │   ├── StoreError              a vector store: unreachable, wrong, locked, or not as it must be
    │   ├── ArtifactError           a folder that is not a whole embedtune artifact
    │   └── OutputExists            an output that would be overwritten
    ├── MissingExtra (ImportError)  an optional dependency is not installed; exit code 2
    └── DiskFull (OSError)          a write failed for lack of room; exit code 2, nothing half-written
"""

from __future__ import annotations


class EmbedtuneError(Exception):
    """Root of the tree; never raised itself."""


class UserError(EmbedtuneError, ValueError):
    """A mistake in what the user gave: what is wrong, where, and how to mend it.

    Parameters
    ----------
    what : str
        What was wrong, with the value seen.
    where : str, optional
        The place: ``file``, ``file:line`` or ``file:line, column 'x'``.
    fix : str, optional
        What to do next, in the imperative.

    Examples
    --------
    >>> print(UserError("column 'query' is missing", where="pairs.csv:1", fix="name the column 'query'"))
    pairs.csv:1: column 'query' is missing; name the column 'query'
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}; {self.fix}" if self.fix else line


class DataError(UserError):
    """A dataset that cannot be read as it stands."""


class VectorError(UserError):
    """Vectors that are not finite, are zero, or do not have the shape they must."""


class ModelNotFound(UserError):
    """A base model that is not a folder, not an installed package, and not reachable on the hub."""


class TextsFailed(UserError):
    """Texts that an API gave no vector for; those of all others are kept, and paid for once.

    Attributes
    ----------
    rows : list of int
        Their numbers among the texts that were to be encoded, from 0 on, ascending.
    reasons : list of str
        Why, for each.
    total : int
        How many texts were to be encoded.
    places : list of str
        Where each comes from (``file:line``); empty where that is not known.
    """

    def __init__(
        self,
        rows: list[int],
        reasons: list[str],
        total: int,
        *,
        places: list[str] | None = None,
        where: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.rows, self.reasons, self.total, self.places = rows, reasons, total, places or []
        shown = [
            f"{self.places[i] if self.places else f'number {row}'} ({reasons[i]})"
            for i, row in enumerate(rows[:3])
        ]
        more = f" and {len(rows) - 3:,} more" if len(rows) > 3 else ""
        what = f"{len(rows):,} of {total:,} texts have no vector: {', '.join(shown)}{more}"
        super().__init__(what, where=where, fix=fix)

    def placed(
        self, rows: list[int], reasons: list[str], total: int, places: list[str] | None = None
    ) -> TextsFailed:
        """Give the same error for other numbers of the texts."""
        return TextsFailed(rows, reasons, total, places=places, where=self.where, fix=self.fix)


class ArtifactError(UserError):
    """A folder that is not an embedtune artifact, or one that was damaged."""


class StoreError(UserError):
    """A vector store that cannot be reached, is locked, or does not hold what it must; it is as it was."""


class MixedDimensions(StoreError):
    """A vector store whose rows have vectors of several dimensions.

    Attributes
    ----------
    rows, odd : int
        Rows with a vector, and those of them that have another dimension than most.
    first : int or str
        The id of the first of those.
    """

    def __init__(self, rows: int, odd: int, most: int, first: int | str, width: int, *, where: str) -> None:
        self.rows, self.odd, self.first = rows, odd, first
        super().__init__(
            f"{odd:,} rows have another dimension than the other {rows - odd:,} with {most}; the first is "
            f"{first!r} with {width}",
            where=where,
            fix="re-encode or remove them",
        )


class OutputExists(UserError):
    """An output path that exists already and would be overwritten."""


class MissingExtra(EmbedtuneError, ImportError):
    """An optional dependency that is not installed.

    Attributes
    ----------
    extra : str
        The extra that installs it.
    module : str
        The module that could not be imported.
    """

    def __init__(self, who: str, module: str, extra: str) -> None:
        self.extra, self.module = extra, module
        super().__init__(f"{who} needs {module}: pip install 'embedtune[{extra}]'")


class DiskFull(EmbedtuneError, OSError):
    """A write that failed because the disk is full; the temporary file has been removed."""
