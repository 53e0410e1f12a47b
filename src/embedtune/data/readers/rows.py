"""Rows with named columns, from wherever they come, to a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedtune.data.dataset import Dataset
from embedtune.data.problems import place
from embedtune.data.readers import Request
from embedtune.data.readers.clicks import Clicks
from embedtune.data.readers.histories import Histories
from embedtune.data.readers.labels import Labels
from embedtune.data.readers.pairs import Pairs
from embedtune.data.readers.pictures import with_images
from embedtune.data.readers.scored import ScoredRows
from embedtune.data.roles import Layout, understand
from embedtune.errors import DataError

Builder = Pairs | Labels | ScoredRows | Histories | Clicks
BUILDERS: dict[str, type[Builder]] = {
    "retrieval": Pairs,
    "classification": Labels,
    "similarity": ScoredRows,
    "recommendation": Histories,
    "clicks": Clicks,
}


@dataclass(frozen=True)
class Part:
    """One file or object of rows; the data of a source is one part or, with splits, several."""

    name: str
    """File, or name of the data in memory."""
    split: str
    """Split of rows that do not name their own."""
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    """Line (or row number, from 1) and cells by column name."""
    folder: str = "."
    """The folder that paths of images are relative to."""


def build(parts: Sequence[Part], asked: Request, source: str, builder: Builder | None = None) -> Dataset:
    """Read the parts one after the other into one dataset.

    Columns may differ from row to row, as they do in JSONL: whenever a new name appears, the roles
    are worked out anew. A ``builder`` that knows something already may be given.

    Raises
    ------
    DataError
        When the columns are not understood, or name different tasks.
    """
    layout: Layout | None = None
    roles: dict[str, str] = {}
    empty = []
    for part in parts:
        columns: dict[str, None] = {}
        for line, row in part.rows:
            if layout is None or not columns.keys() >= row.keys():
                where = place(part.name, line if columns else 1)
                columns |= dict.fromkeys(row)
                layout = _same_task(layout, columns, asked, where)
                roles |= layout.names()
            if builder is None:
                builder = BUILDERS["clicks" if layout.one("clicks") else layout.task](asked)
            builder.add(row, layout, part.split, part.name, line)
        if not columns:
            empty.append(part)
    if layout is None or builder is None:
        raise DataError("there are no rows", where=source, fix="give a file with at least one row of data")
    for part in empty:
        fix = "add rows to it, or remove the file"
        asked.problems.add(
            "empty-splits", f"split {part.split!r} has no rows", file=part.name, line=0, fix=fix
        )
    dataset = builder.finish(roles, source)
    return (
        with_images(dataset, layout.images, parts[0].folder, asked) if layout and layout.images else dataset
    )


def _same_task(before: Layout | None, columns: Mapping[str, None], asked: Request, where: str) -> Layout:
    layout = understand(columns, where=where, task=asked.task, roles=asked.roles)
    if before is not None and before.task != layout.task:
        what = f"these columns ({', '.join(columns)}) are for {layout.task}, those before for {before.task}"
        raise DataError(what, where=where, fix="keep the two in separate sources, or name the task")
    if before is not None and (
        before.images != layout.images or bool(before.one("clicks")) != bool(layout.one("clicks"))
    ):
        what = f"these columns ({', '.join(columns)}) hold another kind of data than those before"
        raise DataError(what, where=where, fix="keep texts, images and clicks in separate sources")
    return layout
