"""Splits that share queries, and splits in which there is nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from embedtune.data.checks.finding import Finding, examples, plural
from embedtune.data.dataset import Dataset, cells
from embedtune.data.duplicates import near_duplicates, plain

NEAR = 0.8
"""Jaccard similarity of words and word pairs from which two queries count as near-duplicates."""


def same_text_across_splits(dataset: Dataset) -> Iterator[Finding]:
    """Find queries (for classification: texts) whose words stand in more than one split."""
    table, texts, splits = _labelled(dataset)
    rows = _in_several([plain(text) for text in texts], splits)
    if rows:
        noun = "text" if dataset.task == "classification" else "query"
        yield Finding(
            "same-text-in-splits",
            "error",
            len(rows),
            f"{plural(len(rows), noun)} in more than one split: what is tested was learnt",
            examples(table, rows),
            "keep each in one split only",
        )


def near_duplicates_across_splits(dataset: Dataset) -> Iterator[Finding]:
    """Find queries that nearly repeat one of another split; see :func:`near_duplicates`."""
    table, texts, splits = _labelled(dataset)
    if len(set().union(*splits)) < 2:
        return
    groups = near_duplicates(texts, NEAR).tolist()
    same = set(_in_several([plain(text) for text in texts], splits))
    rows = [row for row in _in_several(groups, splits) if row not in same]
    if rows:
        noun = "text" if dataset.task == "classification" else "query"
        order = sorted(rows, key=lambda row: (groups[row], row))  # neighbours side by side in the examples
        yield Finding(
            "near-duplicates-in-splits",
            "warning",
            len(rows),
            f"{plural(len(rows), noun)} nearly the same as one of another split "
            f"(at least {NEAR:.0%} of words and word pairs in common)",
            examples(table, order),
            "move each group into one split, or read the test result as that of repeated questions",
        )


def empty_splits(dataset: Dataset) -> Iterator[Finding]:
    """Find splits in which nothing is judged relevant."""
    if dataset.task == "classification":
        return
    empty = [split for split in dataset.splits if not len(dataset.query_rows([split]))]
    if empty:
        yield Finding(
            "empty-splits",
            "error",
            len(empty),
            f"{plural(len(empty), 'split')} without a relevant document: {', '.join(empty)}",
            [],
            "add judgements above 0, or remove the split",
        )


def _labelled(dataset: Dataset) -> tuple[pa.Table, list[str], list[set[str]]]:
    """Give the labelled queries or items, their texts, and the splits of each."""
    if dataset.task == "classification":
        return (
            dataset.documents,
            dataset.contents("document"),
            [{name} for name in cells(dataset.documents, "split")],
        )
    splits: dict[int, set[str]] = {}
    for query, split in set(zip(cells(dataset.qrels, "query"), cells(dataset.qrels, "split"), strict=True)):
        splits.setdefault(query, set()).add(split)
    rows = sorted(splits)
    table = dataset.queries.take(pa.array(rows, pa.int64()))
    contents = dataset.contents("query")
    return table, [contents[row] for row in rows], [splits[row] for row in rows]


def _in_several(keys: Sequence[str | int], splits: list[set[str]]) -> list[int]:
    """Rows whose key stands in more than one split."""
    found: dict[str | int, set[str]] = {}
    for key, names in zip(keys, splits, strict=True):
        found.setdefault(key, set()).update(names)
    return [row for row, key in enumerate(keys) if len(found[key]) > 1]
