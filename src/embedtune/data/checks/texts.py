"""Texts that are empty, that come twice, or that the model does not read to the end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from embedtune.data.checks.finding import Finding, examples, plural
from embedtune.data.dataset import Dataset
from embedtune.types import Encoder

_MUCH_LOST = 0.05
"""Share of the tokens from which losing them is worth a warning."""


def empty_documents(dataset: Dataset) -> Iterator[Finding]:
    """Find documents without text; they are kept, and can never be found."""
    rows = [n for n, text in enumerate(dataset.document_texts) if not text.strip()]
    if rows:
        yield Finding(
            "empty-documents",
            "warning",
            len(rows),
            f"{plural(len(rows), 'document')} without text",
            examples(dataset.documents, rows),
            "fill them in, or remove them from the corpus",
        )


def duplicates(dataset: Dataset) -> Iterator[Finding]:
    """Find texts that come more than once, equal after stripping."""
    if dataset.task == "classification":
        yield from _twice(dataset.documents, dataset.contents("document"), "text", "keep one of each text")
        return
    merge = (
        "keep one of each document and point its judgements to it: a search can return only one of two equals"
    )
    yield from _twice(dataset.documents, dataset.contents("document"), "document", merge)
    yield from _twice(
        dataset.queries,
        dataset.contents("query"),
        "query",
        "merge them into one query with all their positives",
    )


def _twice(table: pa.Table, texts: list[str], noun: str, remedy: str) -> Iterator[Finding]:
    first: dict[str, int] = {}
    again = [n for n, text in enumerate(texts) if text.strip() and first.setdefault(text.strip(), n) != n]
    if again:
        code = "duplicate-" + plural(0, noun).split()[1]
        message = f"{plural(len(again), noun)} with the same text as an earlier one"
        yield Finding(code, "warning", len(again), message, examples(table, again), remedy)


def too_long(dataset: Dataset, encoder: Encoder) -> Iterator[Finding]:
    """Find documents longer than the model reads, and how many of their tokens are lost."""
    counts = encoder.count_tokens(dataset.document_texts) if encoder.content == "text" else None
    if encoder.max_tokens is None or counts is None:
        return
    over = np.maximum(counts - encoder.max_tokens, 0)
    rows = np.flatnonzero(over)
    if not len(rows):
        return
    share = over.sum() / counts.sum()
    yield Finding(
        "long-documents",
        "warning" if share >= _MUCH_LOST else "info",
        len(rows),
        f"{plural(len(rows), 'document')} ({len(rows) / len(counts):.1%}) longer than the "
        f"{encoder.max_tokens} tokens that {encoder.name} reads: "
        f"{over.sum():,} of {counts.sum():,} tokens ({share:.1%}) are lost",
        examples(dataset.documents, rows[np.argsort(-over[rows], kind="stable")].tolist()),
        "cut the documents into passages, put what matters first, or take a model that reads more; "
        "tune tries to read such documents on",
    )
