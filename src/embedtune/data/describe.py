"""What was understood of a dataset, to be confirmed before anything is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedtune.data.dataset import Dataset, Task, cells

_ROWS, _POSITIVES, _WIDTH = 3, 3, 100


@dataclass(frozen=True)
class ExampleRow:
    """One labelled row: a query and its positives, or a text and its labels."""

    text: str
    targets: list[str]
    """The relevant documents' texts or the labels; at most three, shortened. Of a scored pair, the other
    sentence with the score."""
    split: str


@dataclass(frozen=True)
class Description:
    """What a dataset holds; plain data that goes into JSON."""

    task: Task
    source: str
    counts: dict[str, int]
    """Of queries, documents and judgements; for classification of texts and labels, for similarity of
    sentences and pairs."""
    splits: dict[str, dict[str, int]]
    """For each split, its queries and positive judgements; for classification its texts, for
    similarity its pairs."""
    roles: dict[str, str]
    """Role to the column or file that plays it."""
    examples: list[ExampleRow]

    def to_dict(self) -> dict[str, Any]:
        """Give the description as plain dicts and lists."""
        return asdict(self)

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        lines = [f"{self.source}: {self.task}, {counts}"]
        for split, numbers in self.splits.items():
            lines.append(
                f"  split {split}: " + ", ".join(f"{count:,} {name}" for name, count in numbers.items())
            )
        for role, column in self.roles.items():
            lines.append(f"  {role}: {column}")
        for row in self.examples:
            lines += [f"  {row.text}", *(f"    → {target}" for target in row.targets or ["(none)"])]
        return "\n".join(lines)


def describe(dataset: Dataset) -> Description:
    """Give the task, counts, splits, roles and three example rows of a dataset.

    The examples are taken from the beginning, the middle and the end of the labelled rows.
    """
    kinds = {
        "classification": _classification,
        "similarity": _similarity,
        "recommendation": _recommendation,
    }
    counts, splits, rows = kinds.get(dataset.task, _retrieval)(dataset)
    return Description(dataset.task, dataset.source, counts, splits, dict(dataset.roles), rows)


_Inside = tuple[dict[str, int], dict[str, dict[str, int]], list[ExampleRow]]


def _retrieval(dataset: Dataset) -> _Inside:
    counts = {
        "queries": len(dataset.queries),
        "documents": len(dataset.documents),
        "judgements": len(dataset.qrels),
    }
    splits, rows = {}, []
    for split in dataset.splits:
        relevant = dataset.relevance([split])
        splits[split] = {
            "queries": int(np.count_nonzero(np.diff(relevant.indptr))),
            "positives": int(relevant.nnz),
        }
    first = next((split for split, numbers in splits.items() if numbers["queries"]), None)
    if first is not None:
        relevant, labelled = dataset.relevance([first]), dataset.query_rows([first])
        for query in labelled[_spread(len(labelled))].tolist():
            found = relevant.indices[relevant.indptr[query] : relevant.indptr[query + 1]][:_POSITIVES]
            targets = [_shorten(dataset.document_texts[document]) for document in found]
            rows.append(ExampleRow(_shorten(dataset.query_texts[query]), targets, first))
    return counts, splits, rows


def _classification(dataset: Dataset) -> _Inside:
    names = cells(dataset.documents, "split")
    labels = {label for labels in dataset.labels for label in labels}
    noun = "images" if "document" in dataset.images else "texts"
    counts = {noun: len(dataset.documents), "labels": len(labels)}
    splits = {split: {noun: names.count(split)} for split in dataset.splits}
    rows = [
        ExampleRow(_shorten(dataset.document_texts[row]), dataset.labels[row][:_POSITIVES], names[row])
        for row in _spread(len(names))
    ]
    return counts, splits, rows


def _similarity(dataset: Dataset) -> _Inside:
    counts = {"sentences": len(dataset.documents), "pairs": len(dataset.pairs)}
    names = cells(dataset.pairs, "split")
    splits = {split: {"pairs": names.count(split)} for split in dataset.splits}
    texts, pairs = dataset.document_texts, dataset.pairs.to_pylist()
    rows = [
        ExampleRow(
            _shorten(texts[pair["left"]]),
            [f"{_shorten(texts[pair['right']])} ({pair['score']:g})"],
            pair["split"],
        )
        for pair in (pairs[row] for row in _spread(len(pairs)))
    ]
    return counts, splits, rows


def _recommendation(dataset: Dataset) -> _Inside:
    (user, users), names = dataset.users, dataset.interactions["split"]
    chosen = dataset.interactions["item"].to_numpy()
    counts = {"users": len(users), "items": len(dataset.documents), "interactions": len(user)}
    splits = {}
    for split in dataset.splits:
        inside = user[pc.equal(names, pa.scalar(split)).to_numpy()]
        splits[split] = {"users": len(np.unique(inside)), "interactions": len(inside)}
    rows = []
    for at in _spread(len(users)):
        own = np.flatnonzero(user == at)[:_POSITIVES].tolist()
        texts = [dataset.document_texts[chosen[row]] or dataset.document_ids[chosen[row]] for row in own]
        rows.append(
            ExampleRow(f"user {users[at]}", [_shorten(text) for text in texts], names[own[0]].as_py())
        )
    return counts, splits, rows


def _spread(count: int) -> list[int]:
    """Up to three rows: first, middle, last."""
    return sorted({0, count // 2, count - 1}) if count >= _ROWS else list(range(count))


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
