"""Texts under ids, each once, in the order in which they are first seen."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from embedtune.data.dataset import items
from embedtune.data.problems import Problems


class Items:
    """The queries or the documents of a dataset while it is read.

    Parameters
    ----------
    what : str
        ``"query"`` or ``"document"``, for messages.
    prefix : str
        Start of the ids that are made up for texts without one, see :func:`made_up_id`.
    problems : Problems
        Where an id with two texts is reported.
    """

    def __init__(self, what: str, prefix: str, problems: Problems) -> None:
        self._what, self._prefix, self._problems = what, prefix, problems
        self._rows: list[tuple[str | None, str, str, int]] = []
        self._by_text: dict[str, int] = {}
        self.by_id: dict[str, int] = {}
        self.left_out: set[str] = set()
        """Ids reported already, whose judgements are left out without another word."""

    def add(self, text: str, file: str, line: int, id: str | None = None) -> int | None:
        """Add a text and give its row; a known one gives the row it has.

        Texts without id are the same where they are equal after stripping. None says that the id has
        another text already, which a lenient reading leaves out.
        """
        known = self._by_text.get(text.strip()) if id is None else self.by_id.get(id)
        if known is not None and id is not None and self._rows[known][1].strip() != text.strip():
            _, _, first_file, first_line = self._rows[known]
            self._problems.add(
                "duplicate-ids",
                f"{self._what} id {id!r} has another text at {first_file}:{first_line}",
                file=file,
                line=line,
                fix="give every text its own id, or remove one of the two rows",
                text=text,
            )
            return None
        if known is not None:
            return known
        row = len(self._rows)
        self._rows.append((id, text, file, line))
        self._by_text.setdefault(text.strip(), row)
        if id is not None:
            self.by_id[id] = row
        return row

    def table(self) -> pa.Table:
        """Give the Arrow table, with an id for every row."""
        return items(
            [
                (made_up_id(self._prefix, text) if id is None else id, text, file, line)
                for id, text, file, line in self._rows
            ]
        )


def made_up_id(prefix: str, text: str) -> str:
    """Give the id of a text that came without one: the same text has the same id in every file.

    Item deltas are kept by id, so a number would let another file's text take them.

    Examples
    --------
    >>> made_up_id("d", "Fever")
    'd-18ba4ea725fc'
    """
    return f"{prefix}-{hashlib.sha256(text.strip().encode()).hexdigest()[:12]}"
