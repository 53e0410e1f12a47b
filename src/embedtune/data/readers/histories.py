"""Rows of (user, item[, rating][, timestamp]) to a recommendation dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from embedtune.data.dataset import INTERACTIONS, Dataset, items
from embedtune.data.readers import Request
from embedtune.data.readers.times import Times
from embedtune.data.readers.values import as_id, as_score, as_split, as_text
from embedtune.data.roles import Layout
from embedtune.errors import DataError

ROWS = 50_000
"""Interactions that are held as Python's own objects at a time."""


class Histories:
    """Gathers interactions, row by row, over items that are given, or that the rows name.

    Parameters
    ----------
    asked : Request
        Where rows that cannot be used are reported.
    catalogue : list of (id, text, file, line), optional
        The items. Without it an item is what the rows say: its id, and its text where a column has it.
    """

    def __init__(self, asked: Request, catalogue: list[tuple[str, str, str, int]] | None = None) -> None:
        self._problems, self._slices = asked.problems, asked.slices
        self._given = catalogue is not None
        self._items = list(catalogue or [])
        self._by_id = {item[0]: row for row, item in enumerate(self._items)}
        self._columns: dict[str, list[Any]] = {name: [] for name in INTERACTIONS.names}
        self._done: list[pa.Table] = []
        self._count = 0
        self._times = Times()

    def add(self, row: Mapping[str, Any], layout: Layout, split: str, file: str, line: int) -> None:
        """Take one row; an item that is not in the catalogue is reported."""
        cell = layout.cells(row)
        if layout.one("split"):
            split = as_split(*cell("split"), file, line)
        user, item = as_id(*cell("user"), file, line), as_id(*cell("item"), file, line)
        at = self._by_id.get(item)
        if at is None and self._given:
            what, fix = f"item id {item!r} does not exist", "add it to the items, or remove the row"
            self._problems.add("missing-ids", what, file=file, line=line, fix=fix)
            return
        if at is None:
            text = as_text(*cell("item_text"), file, line) if layout.one("item_text") else ""
            at = self._by_id[item] = len(self._items)
            self._items.append((item, text, file, line))
        rating = as_score(*cell("rating"), file, line) if layout.one("rating") else None
        time = self._times.read(*cell("timestamp"), file, line) if layout.one("timestamp") else None
        self._slices.take(self._count, row, file, line)
        self._count += 1
        values = (user, at, rating, time, split, file, line)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
        if self._count % ROWS == 0:
            self._pack()

    def _pack(self) -> None:
        """Turn what was gathered into a table: Python's own numbers and texts take ten times as much."""
        arrays = [pa.array(self._columns[field.name], field.type) for field in INTERACTIONS]
        self._done.append(pa.table(arrays, schema=INTERACTIONS))
        for column in self._columns.values():
            column.clear()

    def finish(self, roles: dict[str, str], source: str) -> Dataset:
        """Give the dataset.

        Raises
        ------
        DataError
            When there is no interaction.
        """
        if not self._count:
            raise DataError("there are no interactions", where=source, fix="add rows with a user and an item")
        self._pack()
        table = pa.concat_tables(self._done).combine_chunks()
        return Dataset(
            "recommendation",
            items(self._items),
            interactions=self._slices.onto(table),
            roles=roles,
            source=source,
            problems=tuple(self._problems.found),
        )
