"""From a dataset and a model to rows to fill in: one way a task, in the columns that the readers know."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedtune.artifact.tuned import Tuned
from embedtune.data.dataset import Dataset
from embedtune.errors import DataError, OutputExists, UserError
from embedtune.files import atomic_write
from embedtune.suggest.choosing import (
    Suggested,
    suggest_documents,
    suggest_items,
    suggest_pairs,
    suggest_queries,
)
from embedtune.types import Kind, Vectors

Cell = str | float | None


@dataclass(frozen=True)
class Row:
    """A row to fill in, and why it was chosen."""

    cells: dict[str, Cell]
    """Cell by column; the empty text where the label goes."""
    uncertainty: float
    moved: float


def suggested_rows(
    dataset: Dataset, tuned: Tuned, n: int, *, pool: Sequence[str] | None = None, seed: int = 0
) -> list[Row]:
    """Choose what to label next.

    Parameters
    ----------
    dataset : Dataset
        What is labelled already. Retrieval: queries of ``pool`` (or of the data, where some are
        not judged) that need a positive, else documents that need a query. Classification: items of
        ``pool``. Similarity: pairs of sentences of the data, and of ``pool``.
    tuned : Tuned
        The model; its base must read texts.
    n : int
        How many, at most.
    pool : sequence of str, optional
        Texts without labels.
    seed : int
        The same seed gives the same rows.

    Raises
    ------
    UserError
        When the base has vectors by id alone, or there is nothing to choose from.
    """
    if tuned.encoder.content != "text":
        raise UserError(
            f"{tuned.encoder.name} knows vectors by id and reads no texts",
            fix="give a model that reads texts",
        )
    if dataset.task == "similarity":
        return _pairs(dataset, tuned, n, pool, seed)
    if dataset.task == "classification":
        return _items(dataset, tuned, n, pool, seed)
    return _retrieval(dataset, tuned, n, pool, seed)


def _pairs(dataset: Dataset, tuned: Tuned, n: int, pool: Sequence[str] | None, seed: int) -> list[Row]:
    texts = list(dict.fromkeys([*dataset.document_texts, *(pool or ())]))
    scored = (
        dataset.pairs["left"].to_numpy().astype(np.int64),
        dataset.pairs["right"].to_numpy().astype(np.int64),
        dataset.pairs["score"].to_numpy(),
    )
    found = suggest_pairs(_encode(tuned, texts), tuned.transform, scored, n, seed=seed)
    cells: list[dict[str, Cell]] = [
        {"sentence1": texts[left], "sentence2": texts[right], "score": ""} for left, right in found.rows
    ]
    return _rows(cells, found)


def _items(dataset: Dataset, tuned: Tuned, n: int, pool: Sequence[str] | None, seed: int) -> list[Row]:
    if pool is None:
        raise UserError(
            "every item of the data has its label",
            where=dataset.source,
            fix="give a file of texts without labels with --pool (in Python: pool=)",
        )
    known = set(dataset.document_texts)
    fresh = [text for text in pool if text not in known]
    labels = [labels[0] if labels else "" for labels in dataset.labels]
    labelled = _encode(tuned, dataset.document_texts)
    found = suggest_items(_encode(tuned, fresh), labelled, labels, tuned.transform, n, seed=seed)
    return _rows([{"text": fresh[row], "label": ""} for row in found.rows], found)


def _retrieval(dataset: Dataset, tuned: Tuned, n: int, pool: Sequence[str] | None, seed: int) -> list[Row]:
    judged = dataset.query_rows(dataset.splits)
    known = {dataset.query_texts[row] for row in judged}
    fresh = [text for text in (dataset.query_texts if pool is None else pool) if text not in known]
    documents = _encode(tuned, dataset.document_texts)
    if fresh or pool is not None:
        vectors, others = _encode(tuned, fresh, "query"), _encode(tuned, sorted(known), "query")
        found = suggest_queries(vectors, documents, tuned.transform, n, known=others, seed=seed)
        return _rows([{"query": fresh[row], "positive": ""} for row in found.rows], found)
    has_query = np.diff(dataset.relevance().tocsc().indptr) > 0
    rows = np.flatnonzero(~has_query)
    if not len(rows):
        raise UserError(
            "every query is judged, and every document has a query",
            where=dataset.source,
            fix="give a file of queries without labels with --pool (in Python: pool=)",
        )
    found = suggest_documents(documents[rows], tuned.transform, n, known=documents[has_query], seed=seed)
    return _rows([{"query": "", "positive": dataset.document_texts[rows[row]]} for row in found.rows], found)


def _encode(tuned: Tuned, texts: Sequence[str], kind: Kind = "document") -> Vectors:
    if not texts:
        return np.empty((0, tuned.encoder.dimension), np.float32)
    return np.asarray(tuned.encoder.encode(texts, kind=kind), np.float32)


def _rows(cells: Sequence[dict[str, Cell]], found: Suggested) -> list[Row]:
    return [
        Row(row, round(float(uncertain), 4), round(float(moved), 4))
        for row, uncertain, moved in zip(cells, found.uncertainty, found.moved, strict=True)
    ]


def refuse_unwritable(path: Path) -> None:
    """Refuse a file that exists, or has another ending than .csv and .jsonl, before any work.

    Raises
    ------
    OutputExists, DataError
        Saying so.
    """
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise DataError(
            f"the ending {path.suffix!r} is not known", where=str(path), fix="write a .csv or a .jsonl file"
        )
    if path.exists():
        raise OutputExists("it exists already", where=str(path), fix="remove it, or choose another name")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV or as JSONL, by the file's ending; whole or not at all."""
    refuse_unwritable(path)
    if path.suffix.lower() == ".jsonl":
        text = "".join(json.dumps(row.cells, ensure_ascii=False) + "\n" for row in rows)
    else:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, list(rows[0].cells) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.cells for row in rows)
        text = buffer.getvalue()
    with atomic_write(path) as file:
        file.write(text.encode())
