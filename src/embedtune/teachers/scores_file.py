"""A teacher that is a file: scores of queries and documents that somebody has worked out before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from embedtune.data.dataset import Dataset
from embedtune.data.readers.formats import FORMATS
from embedtune.data.readers.values import as_id, as_score, as_text, wrong
from embedtune.errors import DataError
from embedtune.teachers.base import Candidates, Progress, Rows, Scores

COLUMNS = {
    "query": ("query", "question", "query_text", "anchor"),
    "query id": ("query-id", "query_id", "qid"),
    "document": ("document", "passage", "positive", "answer", "doc", "document_text"),
    "document id": ("corpus-id", "corpus_id", "document-id", "document_id", "doc-id", "doc_id", "docid"),
    "score": ("score", "teacher_score", "similarity", "logit"),
}
"""Role to the names of its column; a text where there is one, else an id."""

SAYS = "how well the document answers the query, in any unit"


class ScoresFile:
    """Scores from a JSONL, JSON, CSV, TSV, Parquet or Arrow file, a pair of query and document a row.

    Queries and documents are named by their texts or by their ids in the dataset. A query whose text the
    dataset does not have is one more to learn from. Of a pair that comes twice the first row counts.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Raises
    ------
    DataError
        When a column is missing, or a score is missing or no finite number: with file, line and column.
    """

    kind: ClassVar[str] = "file of scores"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.name = self.path.name
        ending = self.path.suffix.lower()
        if ending not in FORMATS:
            fix = f"give a file that ends in {', '.join(FORMATS)}"
            raise DataError(f"the ending {self.path.suffix!r} is not known", where=str(path), fix=fix)
        if not self.path.is_file():
            raise DataError("there is no such file", where=str(path), fix="check the path")
        self._rows = [self._row(row, line) for line, row in FORMATS[ending](self.path)]
        if not self._rows:
            raise DataError("there are no scores", where=str(path), fix="add a row for each pair")

    @property
    def texts(self) -> list[str]:
        """The texts of the queries that are named by their texts, each once."""
        return list(dict.fromkeys(text for (by_text, text), *_ in self._rows if by_text))

    def _row(
        self, row: Mapping[str, Any], line: int
    ) -> tuple[tuple[bool, str], tuple[bool, str], float, int]:
        file = str(self.path)
        query, document = (self._name(row, kind, line) for kind in ("query", "document"))
        column = self._column(row, ("score",), line)
        value = row[column]
        if value is None or value == "":
            raise wrong("the score is missing", column, file, line, f"write {SAYS}, or leave the row out")
        return query, document, as_score(value, column, file, line, says=SAYS), line

    def _name(self, row: Mapping[str, Any], kind: str, line: int) -> tuple[bool, str]:
        """Give what a row calls its query or document, and whether that is its text."""
        column = self._column(row, (kind, f"{kind} id"), line)
        by_text = column.lower() in COLUMNS[kind]
        read = as_text if by_text and not isinstance(row[column], int) else as_id
        name = read(row[column], column, str(self.path), line).strip()
        if not name:
            raise wrong(
                f"the {kind} is empty", column, str(self.path), line, "write it, or leave the row out"
            )
        return by_text, name

    def _column(self, row: Mapping[str, Any], roles: Sequence[str], line: int) -> str:
        names = {name.strip().lower(): name for name in row}
        found = next((names[name] for role in roles for name in COLUMNS[role] if name in names), None)
        if found is None:
            known = ", ".join(name for role in roles for name in COLUMNS[role][:1])
            raise DataError(
                f"no column of the {roles[0]}; columns seen: {', '.join(row) or 'none'}",
                where=f"{self.path}:{line}",
                fix=f"name it {known.replace(', ', ' or ')}",
            )
        return found

    def score(
        self, dataset: Dataset, rows: Rows, candidates: Candidates, progress: Progress | None = None
    ) -> Scores:
        """Give the scores of the file for the queries ``rows``.

        Raises
        ------
        DataError
            When the dataset has no query or document of the name that a line gives.
        """
        queries = _Names(dataset.query_texts, dataset.query_ids)
        documents = _Names(dataset.document_texts, dataset.document_ids)
        found = [
            (self._find(queries, "query", query, at), self._find(documents, "document", document, at), score)
            for query, document, score, at in self._rows
        ]
        query, document, score = (np.array(column) for column in zip(*found, strict=True))
        scores = Scores.of(query.astype(np.int64), document.astype(np.int64), score.astype(np.float64))
        return scores.take(np.isin(scores.query, rows))

    def _find(self, names: _Names, kind: str, name: tuple[bool, str], line: int) -> int:
        by_text, called = name
        row = names.find(called, by_text=by_text)
        if row is None:
            what = "text" if by_text else "id"
            raise DataError(
                f"the data has no {kind} with the {what} {called[:60]!r}",
                where=f"{self.path}:{line}",
                fix="write it as the data does, or leave the row out",
            )
        return row


class _Names:
    """Rows by text and by id; of equal texts the first."""

    def __init__(self, texts: Sequence[str], ids: Sequence[str]) -> None:
        self._texts = {text.strip(): row for row, text in reversed([*enumerate(texts)])}
        self._ids = {name: row for row, name in enumerate(ids)}

    def find(self, name: str, *, by_text: bool) -> int | None:
        """Look among texts, then among ids, as a column called 'query' may hold either; else among ids."""
        if by_text and name in self._texts:
            return self._texts[name]
        return self._ids.get(name)
