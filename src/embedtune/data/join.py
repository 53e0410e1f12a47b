"""A test file beside the training data: one dataset, whose test split is that file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset
from embedtune.data.mixed_histories import mix_histories, refuse_strangers
from embedtune.data.mixture import whole_paths
from embedtune.errors import DataError

TEST = "test"


def join_test(dataset: Dataset, test: Dataset) -> Dataset:
    """Add all judgements of ``test`` to ``dataset`` as its split ``"test"``, in place of the one it has.

    Documents are the same where their texts are; of interactions an id is the same item and the same user in
    both.

    Raises
    ------
    DataError
        When the two are of different tasks, or one of images and one of texts; or, of interactions, no user
        is in both, an item's id has two texts, or one has timestamps and one has none.
    """
    if dataset.task != test.task:
        raise DataError(
            f"the test data is for {test.task}, the training data for {dataset.task}",
            where=test.source,
            fix="give both the same columns",
        )
    if dataset.images != test.images:
        what = "of the two datasets, one has images where the other has texts"
        raise DataError(what, where=test.source, fix="give both the same columns")
    if dataset.task == "recommendation":
        return _with_later(dataset, test)
    dataset, test = whole_paths(dataset), _weighted_like(whole_paths(test), dataset)
    if dataset.task == "classification":
        kept = _without_test(dataset.documents)
        return replace(dataset, documents=_joined([kept, _as_test(test.documents, kept)]))
    row = {text: i for i, text in enumerate(dataset.document_texts)}
    new = [i for i, text in enumerate(test.document_texts) if text not in row]
    row.update({test.document_texts[i]: len(dataset.documents) + k for k, i in enumerate(new)})
    column = np.array([row[text] for text in test.document_texts], np.int32)
    documents = _joined(
        [dataset.documents, _renamed(test.documents.take(pa.array(new, pa.int64())), dataset.documents)]
    )
    if dataset.task == "similarity":
        return replace(dataset, documents=documents, pairs=_joined_pairs(dataset, test, column))
    qrels = test.qrels
    moved = pa.table(
        {
            **{name: qrels[name] for name in qrels.column_names},
            "query": pa.array(qrels["query"].to_numpy() + len(dataset.queries), pa.int32()),
            "document": pa.array(column[qrels["document"].to_numpy()], pa.int32()),
            "split": pa.array([TEST] * len(qrels), pa.string()),
        }
    ).select(dataset.qrels.column_names)
    kept = _without_test(dataset.qrels)
    return replace(
        dataset,
        documents=documents,
        queries=_joined([dataset.queries, _renamed(test.queries, dataset.queries)]),
        qrels=pa.concat_tables([kept, moved]),
    )


def _with_later(dataset: Dataset, test: Dataset) -> Dataset:
    """Interactions of both: those of ``test`` continue the histories of the users with the same ids."""
    kept = replace(dataset, interactions=_without_test(dataset.interactions))
    refuse_strangers(kept, test)
    table = test.interactions
    split = pa.array([TEST] * len(table), pa.string())
    table = table.set_column(table.column_names.index("split"), table.schema.field("split"), split)
    documents, histories = mix_histories([kept, replace(test, interactions=table)])
    return replace(dataset, documents=documents, interactions=histories)


def _joined_pairs(dataset: Dataset, test: Dataset, column: NDArray[np.int32]) -> pa.Table:
    """Scored pairs of both; ``column`` says where the documents of ``test`` are now."""
    moved = {name: pa.array(column[test.pairs[name].to_numpy()], pa.int32()) for name in ("left", "right")}
    rest = {
        name: test.pairs[name] for name in test.pairs.column_names if name not in ("left", "right", "split")
    }
    split = pa.array([TEST] * len(test.pairs), pa.string())
    table = pa.table({**moved, **rest, "split": split}).select(test.pairs.column_names)
    return _joined([_without_test(dataset.pairs), table])


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Put tables together, of which one may lack titles, or columns to slice by."""
    return pa.concat_tables(tables, promote_options="default")


def _weighted_like(test: Dataset, dataset: Dataset) -> Dataset:
    """Give the test data the weights' column that the training data has, all ones, or take it away."""
    name = "documents" if test.task == "classification" else "qrels"
    table: pa.Table = getattr(test, name)
    if "weight" in table.column_names:
        table = table.drop_columns(["weight"])
    if "weight" in getattr(dataset, name).column_names:
        table = table.append_column("weight", pa.array(np.ones(len(table), np.float32)))
    parts: dict[str, Any] = {name: table}
    return replace(test, **parts)


def _without_test(table: pa.Table) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["split"], pa.array([TEST], pa.string()))))


def _renamed(table: pa.Table, taken: pa.Table) -> pa.Table:
    """Mark ids that ``taken`` has too as those of the test file: both files may number theirs from zero."""
    used = set(taken["id"].to_pylist())
    ids = [f"{TEST}:{one}" if one in used else one for one in table["id"].to_pylist()]
    return table.set_column(table.column_names.index("id"), "id", pa.array(ids, pa.string()))


def _as_test(table: pa.Table, taken: pa.Table) -> pa.Table:
    table = _renamed(table, taken)
    return table.set_column(
        table.column_names.index("split"), "split", pa.array([TEST] * len(table), pa.string())
    )
