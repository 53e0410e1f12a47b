"""How often each document is asked for, from a file of ids and counts."""

from __future__ import annotations

from pathlib import Path

from embedtune.data.readers.formats import FORMATS
from embedtune.data.readers.values import as_id, as_score, wrong
from embedtune.errors import DataError


def read_traffic(path: Path) -> dict[str, float]:
    """Read the columns ``id`` and ``count``; counts of an id that comes twice are added.

    Parameters
    ----------
    path : pathlib.Path
        A CSV, TSV, JSONL or Parquet file.

    Raises
    ------
    DataError
        When the file or a column is missing, or a count is not a number from 0 up.
    """
    kind = path.suffix.lower()
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), fix="check the path")
    if kind not in FORMATS:
        raise DataError(
            f"files with the ending {kind!r} are not read", where=str(path), fix=f"use {', '.join(FORMATS)}"
        )
    found: dict[str, float] = {}
    for line, row in FORMATS[kind](path):
        for column in ("id", "count"):
            if row.get(column) is None:
                raise DataError(
                    f"there is no {column!r}", where=f"{path}:{line}", fix="name the columns id and count"
                )
        name = as_id(row["id"], "id", str(path), line)
        count = as_score(row["count"], "count", str(path), line, says="how often it is asked for")
        if count < 0:
            raise wrong(f"the count is {count:g}", "count", str(path), line, "give a number from 0 up")
        found[name] = found.get(name, 0.0) + count
    return found
