"""Columns that a user wants every result by: kept while rows are read, looked up when they are judged."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime
from numbers import Real
from typing import Any

import pyarrow as pa

from embedtune.data.dataset import SLICE, Dataset
from embedtune.data.problems import place
from embedtune.errors import DataError, UserError

MOST = 50
"""Values that a column may have at most."""

FEW = 10
"""Values up to which a column may have one for nearly each row."""

TABLES = {"classification": "documents", "similarity": "pairs", "recommendation": "interactions"}
"""Where the judged rows of a task lie; the queries, for retrieval."""


class SliceColumns:
    """Gathers the named columns of a source, row by row.

    What is judged (a query, an item, a pair, a user) may come in several rows, and a cell may be a list:
    it then has all of the values.

    Parameters
    ----------
    names : sequence of str
        The columns.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = as_names(names)
        self.seen: dict[str, None] = {}
        """All columns that the source has."""
        self._values: dict[str, dict[Hashable, dict[str, None]]] = {name: {} for name in self.names}

    def take(self, key: Hashable, row: Mapping[str, Any], file: str, line: int) -> None:
        """Keep what a row says of the item, pair, … that the reader calls ``key``.

        Raises
        ------
        DataError
            When a cell is no single value, nor a list of such.
        """
        if not self.names:
            return
        self.seen |= dict.fromkeys(row)
        for name in self.names:
            for value in _values(row.get(name), name, file, line):
                self._values[name].setdefault(key, {})[value] = None

    def onto(self, table: pa.Table, keys: Iterable[Hashable] | None = None) -> pa.Table:
        """Give the table with a column for each of the names: the values of each row, a list of strings.

        ``keys`` are those of the table's rows, in order; their numbers unless given.
        """
        keys = range(len(table)) if keys is None else list(keys)
        for name in self.names:
            if name in self.seen:
                values = [list(self._values[name].get(key, ())) for key in keys]
                table = table.append_column(SLICE + name, pa.array(values, pa.list_(pa.string())))
        return table

    def demand(self, where: str) -> None:
        """Refuse columns that the source does not have.

        Raises
        ------
        DataError
            Naming those it has.
        """
        for name in self.names:
            if name not in self.seen:
                seen = (
                    f"columns seen: {', '.join(self.seen)}" if self.seen else "it has no columns of its own"
                )
                raise DataError(f"there is no column {name!r} to slice by", where=where, fix=seen)


def as_names(names: Sequence[str]) -> tuple[str, ...]:
    """Give the names of the columns, each once; a single string is one name."""
    return tuple(dict.fromkeys((names,) if isinstance(names, str) else names))


def slice_values(dataset: Dataset, name: str) -> list[list[str]]:
    """Give the values that each judged row has in a column; of users, all that their interactions have.

    Rows are queries, items, pairs, or users in the order of their ids.

    Raises
    ------
    UserError
        When the dataset was read without the column, or it has too many values to judge each.
    """
    table: pa.Table = getattr(dataset, TABLES.get(dataset.task, "queries"))
    if SLICE + name not in table.column_names:
        raise UserError(
            f"the data was read without the column {name!r}",
            where=dataset.source,
            fix=f"name it when reading: read(..., slices=[{name!r}])",
        )
    column: list[list[str] | None] = table[SLICE + name].to_pylist()
    values = [row or [] for row in column]
    if dataset.task == "recommendation":
        users: dict[str, dict[str, None]] = {}
        names: list[Any] = table["user"].to_pylist()
        for user, row in zip(names, values, strict=True):
            users.setdefault(user, {}).update(dict.fromkeys(row))
        values = [list(users[user]) for user in sorted(users)]
    _refuse_many(values, name, dataset.source)
    return values


def _refuse_many(values: Sequence[Sequence[str]], name: str, source: str) -> None:
    count = len({value for row in values for value in row})
    filled = sum(1 for row in values if row)
    if count > MOST or (count > FEW and 2 * count > filled):
        raise UserError(
            f"column {name!r} has {count:,} values in {filled:,} rows, too many to judge each",
            where=source,
            fix=f"name a column with at most {MOST} values, each of many rows",
        )


def _values(cell: Any, name: str, file: str, line: int) -> list[str]:
    if isinstance(cell, list | tuple):
        return [value for one in cell for value in _values(one, name, file, line)]
    if cell is None or (isinstance(cell, float) and cell != cell):
        return []
    if isinstance(cell, bool):
        return [str(cell).lower()]
    if isinstance(cell, Real):
        number = float(cell)
        return [str(int(number)) if number.is_integer() else str(cell)]
    if isinstance(cell, date | datetime):
        return [cell.isoformat()]
    if isinstance(cell, Mapping | bytes):
        what = f"a {type(cell).__name__} is no value to slice by"
        raise DataError(
            what,
            where=f"{place(file, line)}, column {name!r}",
            fix="write a text, a number or a list of such",
        )
    return [text] if (text := str(cell).strip()) else []
