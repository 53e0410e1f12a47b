"""What a check finds, as data that goes into JSON as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

import pyarrow as pa

Severity = Literal["error", "warning", "info"]

SHOWN = 3
"""Examples of each finding."""

_WIDTH = 120


@dataclass(frozen=True)
class Example:
    """One place where a finding shows."""

    text: str
    """The text concerned, shortened, or what is wrong with the row."""
    file: str
    """File, or name of the data in memory."""
    line: int
    """Line of a text file, row of a table, from 1; 0 for the whole file."""


@dataclass(frozen=True)
class Finding:
    """Something wrong or suspicious in a dataset."""

    code: str
    """Its kind, stable over versions: ``"duplicate-documents"``."""
    severity: Severity
    """``error``: results would be wrong; ``warning``: they may mislead; ``info``: good to know."""
    count: int
    """How many rows are concerned."""
    message: str
    """What was found, with numbers."""
    examples: list[Example]
    """Up to three places."""
    remedy: str
    """How to mend it."""

    def to_dict(self) -> dict[str, Any]:
        """Give the finding as plain dicts and lists."""
        return asdict(self)


def shorten(text: str, width: int = _WIDTH) -> str:
    """Give a text on one line, cut to ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def examples(table: pa.Table, rows: Iterable[int]) -> list[Example]:
    """Give the first rows of a table of queries, of documents, as examples."""
    picked = table.take(pa.array(list(islice(rows, SHOWN)), pa.int64())).select(["text", "file", "line"])
    return [Example(shorten(row["text"]), row["file"], row["line"]) for row in picked.to_pylist()]


def plural(count: int, noun: str) -> str:
    """Give ``1 query``, ``2,000 queries``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1] + 'ies' if noun.endswith('y') else noun + 's'}"
