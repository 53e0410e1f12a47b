"""Rows in memory: a list of dicts, a DataFrame, an Arrow table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from embedtune.data.dataset import Dataset
from embedtune.data.readers import Request
from embedtune.data.readers.formats import Row, batches
from embedtune.data.readers.rows import Part, build
from embedtune.errors import DataError

_NAME = "data"
"""What data in memory is called in messages, where a file's name would stand."""


class Memory:
    """Reads a sequence of dicts, a pandas DataFrame, or what Arrow reads directly (polars, DuckDB)."""

    def accepts(self, source: object) -> bool:
        """Say whether ``source`` is a sequence or a table."""
        is_sequence = isinstance(source, Sequence) and not isinstance(source, str | bytes)
        return (
            is_sequence
            or isinstance(source, pa.Table)
            or _is_frame(source)
            or hasattr(source, "__arrow_c_stream__")
        )

    def read(self, source: Any, asked: Request) -> Dataset:
        """Read the rows; all are 'train' unless there is a split column."""
        return build([Part(_NAME, "train", rows_of(source))], asked, _NAME)


def rows_of(source: Any) -> Iterator[Row]:
    """Stream the rows of a sequence of dicts or a table, numbered from 1."""
    if isinstance(source, pa.Table):
        return batches(iter(source.to_batches()))
    if _is_frame(source):
        return _frame(source)
    if hasattr(source, "__arrow_c_stream__"):
        return batches(iter(pa.table(source).to_batches()))
    return _mappings(source)


def _mappings(source: Sequence[Any]) -> Iterator[Row]:
    for number, row in enumerate(source, 1):
        if not isinstance(row, Mapping):
            raise DataError(
                f"row {number} is a {type(row).__name__}, not a dict",
                where=f"{_NAME}:{number}",
                fix='name the columns: {"query": …, "positive": …} or {"text": …, "label": …}',
            )
        yield number, dict(row)


def _is_frame(source: object) -> bool:
    """Say whether this looks like a pandas DataFrame, which is not imported here."""
    return all(hasattr(source, name) for name in ("columns", "itertuples", "iloc"))


def _frame(source: Any) -> Iterator[Row]:
    names = [str(name) for name in source.columns]
    columns = [source.iloc[:, n].tolist() for n in range(len(names))]
    for number, cells in enumerate(zip(*columns, strict=True), 1):
        yield (
            number,
            {name: None if _is_missing(cell) else cell for name, cell in zip(names, cells, strict=True)},
        )


def _is_missing(cell: object) -> bool:
    """Say whether this is NaN or pandas' NA, which stand for an empty cell of a DataFrame."""
    return (isinstance(cell, float) and cell != cell) or type(cell).__name__ in ("NAType", "NaTType")
