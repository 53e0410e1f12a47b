"""What a user's data becomes: queries, documents and who belongs to whom, in Arrow tables."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.data.images import ImagePath
from embedtune.data.problems import Problem
from embedtune.files import sha256_file

Task = Literal["retrieval", "classification", "similarity", "recommendation"]

_PLACE: dict[str, pa.DataType] = {"file": pa.string(), "line": pa.int64()}

SLICE = "slice:"
"""Start of the names of columns that a user wants results by, beside the tables' own columns."""

ITEMS = pa.schema({"id": pa.string(), "text": pa.string(), **_PLACE})
"""Schema of queries and of documents; classification adds ``label`` and ``split``.

Documents of retrieval may have a column ``title``, string, null where there is none: what their text begins
with, see :mod:`embedtune.data.titles`.
"""

LABELLED = pa.schema([*ITEMS, pa.field("label", pa.list_(pa.string())), pa.field("split", pa.string())])
"""Schema of the documents of a classification dataset."""

_JUDGED: dict[str, pa.DataType] = {"query": pa.int32(), "document": pa.int32(), "grade": pa.float32()}

QRELS = pa.schema({**_JUDGED, "split": pa.string(), **_PLACE})
"""Schema of judgements: row numbers of the two tables; a grade of 0 or less says 'not relevant'.

Where several sources were read with weights there is a column ``weight``, float32; so there is in the
documents of a classification dataset. It counts in training and never in judging.

Columns that results are wanted by (:mod:`embedtune.data.slices`) are in the table of what is judged, under
names that begin with ``slice:``: queries, items, pairs or interactions.
"""

_SCORED: dict[str, pa.DataType] = {"left": pa.int32(), "right": pa.int32(), "score": pa.float64()}

PAIRS = pa.schema({**_SCORED, "split": pa.string(), **_PLACE})
"""Schema of scored pairs: row numbers of two documents; a higher score says 'more alike'."""

_BELIEVED: dict[str, pa.DataType] = {"query": pa.int32(), "document": pa.int32(), "logit": pa.float32()}

TAUGHT = pa.schema(_BELIEVED)
"""Schema of a teacher's scores: row numbers, and the logarithm of how probable it is that the two belong
together, up to a constant for each query."""

_CHOICE: dict[str, pa.DataType] = {"user": pa.string(), "item": pa.int32(), "rating": pa.float32()}

INTERACTIONS = pa.schema({**_CHOICE, "time": pa.int64(), "split": pa.string(), **_PLACE})
"""Schema of interactions: row number of the item; rating and time (milliseconds since 1970) may be null."""


@dataclass(frozen=True)
class Dataset:
    """A task's data. Build one with :func:`embedtune.data.read`.

    Parameters
    ----------
    task : str
        ``"retrieval"``, ``"classification"``, ``"similarity"`` or ``"recommendation"``.
    documents : pyarrow.Table
        Schema :data:`ITEMS`; for classification the labelled items, with a column
        ``label`` (list of strings) and a column ``split``.
    queries : pyarrow.Table
        Schema :data:`ITEMS`; empty for classification.
    qrels : pyarrow.Table
        Schema :data:`QRELS`; empty for classification.
    pairs : pyarrow.Table
        Schema :data:`PAIRS`, scored pairs of documents; empty but for similarity.
    interactions : pyarrow.Table
        Schema :data:`INTERACTIONS`, over the documents, which are the items; empty for other tasks.
    roles : dict
        Which column or file was understood as what, for the user to confirm.
    source : str
        Where the data came from, for messages.
    problems : tuple of Problem
        What a lenient reading left out; empty after a strict one. Findings are made of it.
    images : frozenset of str
        Which of ``"query"`` and ``"document"`` are images: their texts are paths, relative to ``root``.
    root : str
        The folder that paths of images are relative to.
    taught : pyarrow.Table
        Schema :data:`TAUGHT`; empty without a teacher, see :func:`embedtune.teachers.teach.teach`.
    """

    task: Task
    documents: pa.Table
    queries: pa.Table = field(default_factory=ITEMS.empty_table)
    qrels: pa.Table = field(default_factory=QRELS.empty_table)
    pairs: pa.Table = field(default_factory=PAIRS.empty_table)
    roles: dict[str, str] = field(default_factory=dict)
    source: str = "data"
    problems: tuple[Problem, ...] = ()
    interactions: pa.Table = field(default_factory=INTERACTIONS.empty_table)
    images: frozenset[str] = frozenset()
    root: str = ""
    taught: pa.Table = field(default_factory=TAUGHT.empty_table)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits present, train, dev and test first."""
        tables = {
            "classification": self.documents,
            "similarity": self.pairs,
            "recommendation": self.interactions,
        }
        table = tables.get(self.task, self.qrels)
        found = {str(name) for name in table["split"].unique().to_pylist()}
        known = [name for name in ("train", "dev", "test") if name in found]
        return (*known, *sorted(found - set(known)))

    def relevance(self, splits: Iterable[str] | None = None) -> csr_matrix:
        """Positive judgements as a sparse matrix of grades, float32 (queries, documents)."""
        return self._judgements(splits, positive=True)

    def negatives(self, splits: Iterable[str] | None = None) -> csr_matrix:
        """Judged non-relevant pairs as a sparse matrix of ones, float32 (queries, documents)."""
        return self._judgements(splits, positive=False)

    def _judgements(self, splits: Iterable[str] | None, *, positive: bool) -> csr_matrix:
        shape = (len(self.queries), len(self.documents))
        qrels = self.qrels
        if splits is not None:
            qrels = qrels.filter(pc.is_in(qrels["split"], pa.array(list(splits), pa.string())))
        grade = qrels["grade"].to_numpy()
        keep = grade > 0 if positive else grade <= 0
        rows, cols = qrels["query"].to_numpy()[keep], qrels["document"].to_numpy()[keep]
        values = grade[keep] if positive else np.ones(keep.sum(), np.float32)
        pairs = csr_matrix((values, (rows, cols)), shape=shape)
        if len(values) and pairs.nnz < len(
            values
        ):  # the same pair judged twice: keep the highest grade, not the sum
            order = np.lexsort((values, cols, rows))
            last = np.r_[np.diff(rows[order]) != 0, True] | np.r_[np.diff(cols[order]) != 0, True]
            chosen = order[last]
            pairs = csr_matrix((values[chosen], (rows[chosen], cols[chosen])), shape=shape)
        pairs.sort_indices()
        return pairs

    def teaching(self) -> csr_matrix | None:
        """Give a teacher's scores, float32 (queries, documents), also those of 0; None without a teacher."""
        if not len(self.taught):
            return None
        columns = [self.taught[name].to_numpy() for name in ("logit", "query", "document")]
        return csr_matrix(
            (columns[0], (columns[1], columns[2])), shape=(len(self.queries), len(self.documents))
        )

    def query_rows(self, splits: Iterable[str]) -> NDArray[np.int64]:
        """Rows of the queries that have a positive in any of ``splits``, ascending."""
        return np.flatnonzero(np.diff(self.relevance(splits).indptr))

    @cached_property
    def query_texts(self) -> list[str]:
        """The queries' texts, in the order of the table."""
        return cells(self.queries, "text")

    @cached_property
    def document_texts(self) -> list[str]:
        """The documents' texts, in the order of the table."""
        return cells(self.documents, "text")

    def items(self, kind: Literal["query", "document"]) -> list[str]:
        """Give what an encoder reads: the texts, or the images' whole paths as ImagePath."""
        texts = self.query_texts if kind == "query" else self.document_texts
        return [ImagePath(Path(self.root, text)) for text in texts] if kind in self.images else texts

    def contents(self, kind: Literal["query", "document"]) -> list[str]:
        """Give what tells items apart: the texts, or of images the sha256 of their files."""
        if kind not in self.images:
            return self.items(kind)
        return self._query_hashes if kind == "query" else self._document_hashes

    @cached_property
    def _query_hashes(self) -> list[str]:
        return [sha256_file(Path(path)) for path in self.items("query")]

    @cached_property
    def _document_hashes(self) -> list[str]:
        return [sha256_file(Path(path)) for path in self.items("document")]

    def weights(self, splits: Iterable[str] | None = None) -> NDArray[np.float32]:
        """Give how much each query, or each item of a classification, counts in training: float32 (n,).

        1 where the data has no weights; of a query, the mean over its positive judgements in ``splits``.
        """
        table = self.documents if self.task == "classification" else self.qrels
        if "weight" not in table.column_names:
            return np.ones(len(self.documents if self.task == "classification" else self.queries), np.float32)
        weight = table["weight"].to_numpy()
        if self.task == "classification":
            return np.asarray(weight, np.float32)
        keep = table["grade"].to_numpy() > 0
        if splits is not None:
            keep &= np.isin(np.array(cells(table, "split")), list(splits))
        query = table["query"].to_numpy()[keep]
        count = np.bincount(query, minlength=len(self.queries))
        total = np.bincount(query, weight[keep], minlength=len(self.queries))
        return np.where(count > 0, total / np.maximum(count, 1), 1).astype(np.float32)

    @cached_property
    def query_ids(self) -> list[str]:
        """The queries' ids, in the order of the table."""
        return cells(self.queries, "id")

    @cached_property
    def document_ids(self) -> list[str]:
        """The documents' ids, in the order of the table."""
        return cells(self.documents, "id")

    @property
    def users(self) -> tuple[NDArray[np.int32], list[str]]:
        """Number of each interaction's user, (t,), and the users' ids, in the order of their first."""
        coded = self.interactions["user"].combine_chunks().dictionary_encode()
        names: list[Any] = coded.dictionary.to_pylist()
        return np.asarray(coded.indices.to_numpy(), np.int32), names

    @cached_property
    def labels(self) -> list[list[str]]:
        """The labels of each document of a classification dataset; empty lists are 'none applies'."""
        if "label" not in self.documents.column_names:
            return []
        return cells(self.documents, "label")

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over ids, texts, judgements and labels, and over images; places in files do not count."""
        digest = hashlib.sha256(self.task.encode())
        parts = [
            (self.queries, ("id", "text")),
            (self.documents, ("id", "text", "label", "split", "weight")),
            (self.qrels, ("query", "document", "grade", "split", "weight")),
        ]
        if self.task == "similarity":
            parts.append((self.pairs, ("left", "right", "score", "split")))
        if self.task == "recommendation":
            parts.append((self.interactions, ("user", "item", "rating", "time", "split")))
        if len(self.taught):
            parts.append((self.taught, ("query", "document", "logit")))
        for table, columns in parts:
            sliced = [name for name in table.column_names if name.startswith(SLICE)]
            known = [name for name in columns if name in table.column_names]
            kept = table.select([*known, *sliced]).combine_chunks()
            sink = pa.PythonFile(_Hashed(digest), mode="w")  # never held as a whole
            with pa.ipc.new_stream(sink, kept.schema) as writer:
                writer.write_table(kept)
        hashes = (self.contents(kind) for kind in ("query", "document") if kind in self.images)
        digest.update("".join(name for names in hashes for name in names).encode())
        return digest.hexdigest()


class _Hashed(io.RawIOBase):
    """A file of which only the hash is kept."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)


def cells(table: pa.Table, column: str) -> list[Any]:
    """Give a column of a table as a Python list."""
    return table[column].to_pylist()


def items(rows: Sequence[tuple[str, str, str, int]]) -> pa.Table:
    """Build a table of :data:`ITEMS` from (id, text, file, line) rows."""
    return _table(rows, ITEMS)


def titled(documents: pa.Table, titles: Mapping[int, str]) -> pa.Table:
    """Add what some rows of documents are called; nothing where no row has a title."""
    if not any(titles.values()):
        return documents
    column = [titles.get(row) or None for row in range(len(documents))]
    return documents.append_column("title", pa.array(column, pa.string()))


def labelled(rows: Sequence[tuple[str, str, str, int, list[str], str]]) -> pa.Table:
    """Build a table of :data:`LABELLED` from (id, text, file, line, labels, split) rows."""
    return _table(rows, LABELLED)


def judgements(rows: Sequence[tuple[int, int, float, str, str, int]]) -> pa.Table:
    """Build a table of :data:`QRELS` from (query, document, grade, split, file, line) rows."""
    return _table(rows, QRELS)


def scored_pairs(rows: Sequence[tuple[int, int, float, str, str, int]]) -> pa.Table:
    """Build a table of :data:`PAIRS` from (left, right, score, split, file, line) rows."""
    return _table(rows, PAIRS)


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
