"""What is given beside a store to check: labelled data as any, or new queries alone, as a log has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedtune.data import read
from embedtune.data.dataset import Dataset, Task
from embedtune.data.readers.formats import FORMATS
from embedtune.errors import DataError
from embedtune.types import Content, Kind

_NAMES = ("query", "question", "text")


@dataclass(frozen=True)
class Given:
    """Data, or a log of queries."""

    dataset: Dataset | None
    log: tuple[str, ...] = ()

    def items(self, kind: Kind, content: Content) -> list[str]:
        """Give what a model reads of the queries, or of the documents where those are what is tuned on."""
        if self.dataset is None:
            return list(self.log)
        if content == "id":
            return self.dataset.query_ids if kind == "query" else self.dataset.document_ids
        return list(self.dataset.items(kind))


def read_given(
    source: Any, *, task: Task | None = None, roles: Mapping[str, str | None] | None = None
) -> Given:
    """Read whatever :func:`embedtune.data.read` reads, or rows with a column ``query`` and no labels.

    Raises
    ------
    DataError
        When it is neither.
    """
    try:
        return Given(read(source, task=task, roles=roles, strict=False))
    except DataError:
        log = tuple(_log(source))
        if not log:
            raise
        return Given(None, log)


def _log(source: Any) -> Iterator[str]:
    """Give the queries of rows that name nothing else that would make them data."""
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.is_file() or path.suffix.lower() not in FORMATS:
            return
        rows: Any = FORMATS[path.suffix.lower()](path)
    else:
        rows = enumerate(source) if isinstance(source, list | tuple) else ()
    for _, row in rows:
        if isinstance(row, Mapping):
            by_name = {str(key).strip().lower(): value for key, value in row.items()}
            row = next((by_name[name] for name in _NAMES if name in by_name), None)
        if isinstance(row, str) and row.strip():
            yield row
