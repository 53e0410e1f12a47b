"""Queries, documents and judgements to a problem of retrieval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.collect.collected import DEV, Collected
from embedtune.collect.encode import Progress, documents_of, encode, items_of
from embedtune.data.dataset import Dataset
from embedtune.data.duplicates import near_duplicates
from embedtune.data.splits import seen
from embedtune.judging.labelled import Labelled
from embedtune.types import Encoder

MADE = "made"
"""The split of pairs made from the collection itself: they train, and judge nothing."""

METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "map")


def collect(
    dataset: Dataset, encoder: Encoder, training: list[str], judging: list[str], progress: Progress | None
) -> Collected:
    """Encode documents and queries, and divide the judgements by split."""
    documents, ids, column = documents_of(dataset, encoder, progress)
    train_rows, test_rows = dataset.query_rows(training), dataset.query_rows(judging)
    rows = np.union1d(train_rows, test_rows)
    queries = encode(encoder, items_of(dataset, encoder, "query", rows), "query", progress, dataset)
    contents = dataset.contents("query")

    def part(rows_of: NDArray[np.int64], splits: list[str]) -> Labelled:
        width = len(documents)
        return Labelled(
            queries[np.searchsorted(rows, rows_of)],
            documents,
            _widen(dataset.relevance(splits)[rows_of], column, width),
            ids,
            near_duplicates([contents[row] for row in rows_of]),
            encoder.similarity,
            _widen(dataset.negatives(splits)[rows_of], column, width),
        )

    weight = dataset.weights(training)[train_rows]
    taught = dataset.teaching()
    made = only_in(dataset, MADE, training, train_rows)
    train = replace(
        part(train_rows, training),
        outside=only_in(dataset, DEV, training, train_rows) if "train" in training else None,
        made=made if made is not None and not made.all() else None,
        weight=None if (weight == 1).all() else weight,
        taught=None if taught is None else _widen(taught[train_rows], column, len(documents)),
    )
    found = Collected(
        train,
        [dataset.query_texts[row] for row in train_rows],
        len(train_rows) if train.made is None else int((~train.made).sum()),
        METRICS,
        train_from=train_rows,
        made=training == [MADE],
    )
    if not len(test_rows):
        return found
    test = part(test_rows, judging)
    known = seen(test.relevance, train.relevance)
    return replace(
        found,
        test=test,
        test_texts=[dataset.query_texts[row] for row in test_rows],
        test_rows=np.arange(len(test_rows)),
        test_strata={"seen": known, "unseen": ~known},
        test_from=test_rows,
    )


def only_in(
    dataset: Dataset, split: str, training: list[str], rows: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    """Which labelled queries have labels in this split alone; None where there is no such split."""
    if split not in training:
        return None
    others = dataset.query_rows([name for name in training if name != split])
    return np.isin(rows, np.setdiff1d(dataset.query_rows([split]), others))


def _widen(pairs: csr_matrix, column: NDArray[np.int64], width: int) -> csr_matrix:
    """Put the columns of judgements where the collection has the documents."""
    if len(column) == width and np.array_equal(column, np.arange(width)):
        return pairs
    moved = csr_matrix((pairs.data, column[pairs.indices], pairs.indptr), shape=(pairs.shape[0], width))
    moved.sort_indices()
    return moved
