"""Too few labels, and labels that lie on few documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from embedtune.data.checks.finding import Finding, examples, plural
from embedtune.data.dataset import Dataset, cells

FEW, HARDLY_ANY = 50, 10
"""Labelled queries (for classification: texts) below which a gain can hardly be told, and cannot be told."""

_RARE = 5
"""Texts below which a label is hardly learnt."""

_TOP, _TOP_SHARE, _DISTINCT, _ENOUGH = 5, 0.5, 10, 20
"""Judgements are concentrated where this many documents hold this share of them, or where fewer than so
many documents are relevant to anything; asked only from so many judgements on."""


def few_labels(dataset: Dataset) -> Iterator[Finding]:
    """Find too few labels to learn from, and too few in the test split to judge by."""
    noun = "labelled text" if dataset.task == "classification" else "labelled query"
    table = dataset.documents if dataset.task == "classification" else dataset.queries
    rows = _labelled(dataset, [split for split in dataset.splits if split != "test"])
    learn = len(rows)
    if learn < FEW:
        yield Finding(
            "few-labels",
            "error" if learn < HARDLY_ANY else "warning",
            learn,
            f"{plural(learn, noun)} to learn from, fewer than {FEW if learn >= HARDLY_ANY else HARDLY_ANY}",
            examples(table, rows),
            f"label more: from {FEW} on a clear gain can be told, from a few hundred a small one",
        )
    if "test" in dataset.splits and (test := len(rows := _labelled(dataset, ["test"]))) < FEW:
        message = f"{plural(test, noun)} in the test split, fewer than {FEW}: its result will be uncertain"
        remedy = "put more into test, or leave it out and be judged out of fold"
        yield Finding("few-test-labels", "warning", test, message, examples(table, rows), remedy)


def _labelled(dataset: Dataset, splits: list[str]) -> list[int]:
    """Rows of the labelled queries, or texts, of some splits."""
    if dataset.task == "classification":
        return [row for row, split in enumerate(cells(dataset.documents, "split")) if split in splits]
    return [int(row) for row in dataset.query_rows(splits)]


def rare_labels(dataset: Dataset) -> Iterator[Finding]:
    """Find labels with a handful of texts, and data with a single label."""
    if dataset.task != "classification":
        return
    count = Counter(label for labels in dataset.labels for label in labels)
    if len(count) == 1 and all(dataset.labels):
        message = f"every text has the same label, {next(iter(count))!r}"
        yield Finding("single-label", "error", 1, message, [], "add texts with other labels")
        return
    rare = sorted(label for label, texts in count.items() if texts < _RARE)
    if rare:
        rows = [row for row, labels in enumerate(dataset.labels) if set(labels) & set(rare)]
        yield Finding(
            "rare-labels",
            "info",
            len(rare),
            f"{plural(len(rare), 'label')} of {len(count):,} with fewer than {_RARE} texts: "
            + ", ".join(rare[:5])
            + (", …" if len(rare) > 5 else ""),
            examples(dataset.documents, rows),
            "label more texts for them, or merge them with a similar label",
        )


def concentrated_labels(dataset: Dataset) -> Iterator[Finding]:
    """Find relevance that lies on few documents, so that a map can learn to return always the same."""
    relevant = dataset.relevance()
    if relevant.nnz < _ENOUGH:
        return
    per_document = np.bincount(relevant.indices, minlength=len(dataset.documents))
    distinct = int(np.count_nonzero(per_document))
    order = np.argsort(-per_document, kind="stable")[:_TOP]
    top = int(per_document[order].sum())
    share = top / relevant.nnz
    if share <= _TOP_SHARE and distinct >= _DISTINCT:
        return
    yield Finding(
        "concentrated-labels",
        "warning",
        top,
        f"{top:,} of {plural(relevant.nnz, 'judgement')} ({share:.0%}) lie on "
        f"{plural(min(_TOP, distinct), 'document')}; "
        f"{distinct:,} of {len(dataset.documents):,} documents are relevant to any query",
        examples(dataset.documents, order[per_document[order] > 0].tolist()),
        "label queries for other documents too; what is learnt here says little about them",
    )
