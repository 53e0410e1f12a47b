"""Judgements that contradict each other, teach nothing, or are missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedtune.data.checks.finding import SHOWN, Example, Finding, examples, plural, shorten
from embedtune.data.dataset import Dataset, cells
from embedtune.data.duplicates import normalise, plain


def contradictions(dataset: Dataset) -> Iterator[Finding]:
    """Find pairs judged both relevant and not, and equal texts with different single labels."""
    if dataset.task == "classification":
        yield from _conflicting_labels(dataset)
        return
    both = (dataset.relevance() > 0).multiply(dataset.negatives() > 0).tocoo()
    if not both.nnz:
        return
    pairs = set(zip(both.row.tolist(), both.col.tolist(), strict=True))
    columns = [cells(dataset.qrels, name) for name in ("query", "document", "file", "line")]
    places = {(q, d): (file, line) for q, d, file, line in zip(*columns, strict=True) if (q, d) in pairs}
    shown = [
        Example(f"{shorten(dataset.query_texts[q], 60)} → {shorten(dataset.document_texts[d], 60)}", *place)
        for (q, d), place in list(places.items())[:SHOWN]
    ]
    yield Finding(
        "contradicting-judgements",
        "error",
        len(pairs),
        f"{plural(len(pairs), 'pair')} of query and document judged both relevant and not",
        shown,
        "keep one judgement of each pair",
    )


def _conflicting_labels(dataset: Dataset) -> Iterator[Finding]:
    labels: dict[str, set[tuple[str, ...]]] = {}
    keys = [plain(text) for text in dataset.contents("document")]
    for key, given in zip(keys, dataset.labels, strict=True):
        labels.setdefault(key, set()).add(tuple(sorted(given)))
    rows = [row for row, key in enumerate(keys) if len(labels[key]) > 1]
    if rows:
        rows.sort(key=lambda row: (keys[row], row))
        yield Finding(
            "contradicting-labels",
            "warning",
            len(rows),
            f"{plural(len(rows), 'row')} whose text has another label elsewhere",
            examples(dataset.documents, rows),
            "decide for one label, or give all of them as a list",
        )


def query_equals_document(dataset: Dataset) -> Iterator[Finding]:
    """Find queries that are, but for case and punctuation, the text of a document relevant to them."""
    relevant = dataset.relevance()
    queries, documents = (
        map(normalise, dataset.contents("query")),
        list(map(normalise, dataset.contents("document"))),
    )
    rows = [
        row
        for row, query in enumerate(queries)
        if any(
            documents[d] == query for d in relevant.indices[relevant.indptr[row] : relevant.indptr[row + 1]]
        )
    ]
    if rows:
        share = len(rows) / max(1, len(dataset.query_rows(dataset.splits)))
        yield Finding(
            "query-equals-document",
            "warning",
            len(rows),
            f"{plural(len(rows), 'query')} ({share:.1%}) with the same words as a relevant document: "
            "any model finds it, and nothing is learnt",
            examples(dataset.queries, rows),
            "remove these pairs, or replace the queries by what users really type",
        )


def without_positive(dataset: Dataset) -> Iterator[Finding]:
    """Find queries that are judged but never positively, and queries that are not judged at all."""
    if dataset.task == "classification":
        return
    judged = np.unique(dataset.qrels["query"].to_numpy())
    positive = dataset.query_rows(dataset.splits)
    only_negative = np.setdiff1d(judged, positive)
    unjudged = np.setdiff1d(np.arange(len(dataset.queries)), judged)
    if len(only_negative):
        message = f"{plural(len(only_negative), 'query')} judged, but with no relevant document"
        remedy = "judge a document as relevant, or remove the query: it can be neither learnt from nor scored"
        shown = examples(dataset.queries, only_negative.tolist())
        yield Finding("only-negatives", "warning", len(only_negative), message, shown, remedy)
    if len(unjudged):
        message = f"{plural(len(unjudged), 'query')} without any judgement"
        shown = examples(dataset.queries, unjudged.tolist())
        remedy = "nothing needs to be done: they are not used"
        yield Finding("unjudged-queries", "info", len(unjudged), message, shown, remedy)
