"""Rows of (query, positive[, negative…][, score]) to a retrieval dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedtune.data.dataset import Dataset, judgements
from embedtune.data.readers import Request
from embedtune.data.readers.items import Items
from embedtune.data.readers.values import as_id, as_score, as_split, as_text, as_texts, wrong
from embedtune.data.roles import Layout
from embedtune.errors import DataError


class Pairs:
    """Gathers pairs, triplets and scored pairs, row by row.

    Equal texts become one query, one document; a judgement that is repeated word for word is kept once.
    """

    def __init__(self, asked: Request) -> None:
        self._problems, self._slices = asked.problems, asked.slices
        self._queries = Items("query", "q", asked.problems)
        self._documents = Items("document", "d", asked.problems)
        self._judged: dict[tuple[int, int, float, str], tuple[str, int]] = {}

    def add(self, row: Mapping[str, Any], layout: Layout, split: str, file: str, line: int) -> None:
        """Take one row; a row that lacks a query or a positive is reported."""
        cell = layout.cells(row)
        if layout.one("split"):
            split = as_split(*cell("split"), file, line)
        text, (value, column) = as_text(*cell("query"), file, line), cell("positive")
        positives = as_texts(value, column, file, line)
        if not self._usable(text, positives, layout, file, line):
            return
        grade = as_score(*cell("score"), file, line) if layout.one("score") else 1.0
        query_id = as_id(*cell("query_id"), file, line) if layout.one("query_id") else None
        query = self._queries.add(text, file, line, query_id)
        if query is None:
            return
        self._slices.take(query, row, file, line)
        ids = _document_ids(cell("document_id"), positives, file, line) if layout.one("document_id") else None
        for n, positive in enumerate(positives):
            self._judge(query, positive, grade, split, file, line, ids[n] if ids else None)
        for column in layout.columns.get("negative", ()):
            for negative in as_texts(row.get(column), column, file, line):
                if negative.strip():
                    self._judge(query, negative, 0.0, split, file, line, None)

    def _judge(
        self, query: int, text: str, grade: float, split: str, file: str, line: int, document_id: str | None
    ) -> None:
        document = self._documents.add(text, file, line, document_id)
        if document is not None:
            self._judged.setdefault((query, document, grade, split), (file, line))

    def _usable(self, query: str, positives: list[str], layout: Layout, file: str, line: int) -> bool:
        """Report a query without text, without positive, or with an empty one among its positives."""
        if not query.strip():
            code, what, fix = (
                "empty-texts",
                f"the query (column {layout.one('query')!r}) is empty",
                "fill it in",
            )
        elif not positives:
            column = layout.one("positive")
            code, what, fix = (
                "no-positive",
                f"the query has no positive: column {column!r} is empty",
                "fill it in",
            )
        elif not all(text.strip() for text in positives):
            code, what, fix = "empty-texts", "one of the positives is empty", "remove it from the list"
        else:
            return True
        self._problems.add(code, what, file=file, line=line, fix=f"{fix}, or remove the row", text=query)
        return False

    def finish(self, roles: dict[str, str], source: str) -> Dataset:
        """Give the dataset.

        Raises
        ------
        DataError
            When no row says that a document is relevant.
        """
        if not any(grade > 0 for _, _, grade, _ in self._judged):
            raise DataError("no query has a relevant document", where=source, fix="add rows with a positive")
        rows = [(q, d, grade, split, *where) for (q, d, grade, split), where in self._judged.items()]
        return Dataset(
            "retrieval",
            self._documents.table(),
            self._slices.onto(self._queries.table()),
            judgements(rows),
            roles=roles,
            source=source,
            problems=tuple(self._problems.found),
        )


def _document_ids(cell: tuple[Any, str], positives: list[str], file: str, line: int) -> list[str]:
    value, column = cell
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) != len(positives):
        raise wrong(
            f"{len(values)} ids for {len(positives)} positives",
            column,
            file,
            line,
            "give one id for each positive",
        )
    return [as_id(value, column, file, line) for value in values]
