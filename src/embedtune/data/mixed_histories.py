"""Histories of several sources in one: items by id, which must agree, and users by id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from embedtune.data.dataset import Dataset, cells
from embedtune.errors import DataError

SHOWN = 40
"""Characters of a text that are shown in a message."""


def mix_histories(sources: Sequence[Dataset]) -> tuple[pa.Table, pa.Table]:
    """Put the items and interactions of several datasets together.

    An id is the same item, and the same user, in all sources: item ids that agree say that the sources are
    of one system, whose user ids are one set too. An item without a text gets that of a source that has one.

    Parameters
    ----------
    sources : sequence of Dataset
        Of recommendation.

    Returns
    -------
    documents, interactions : pyarrow.Table
        Items in the order in which they come first.

    Raises
    ------
    DataError
        When an id has two texts, or one source has timestamps and another has none.
    """
    _refuse_times_of_some(sources)
    rows: dict[str, int] = {}
    texts: list[str] = []
    tables, interactions = list[pa.Table](), list[pa.Table]()
    for dataset in sources:
        new = list[int]()
        place = np.empty(len(dataset.documents), np.int32)
        for i, (name, text) in enumerate(zip(dataset.document_ids, dataset.document_texts, strict=True)):
            row = rows.setdefault(name, len(texts))
            place[i] = row
            if row == len(texts):
                texts.append(text)
                new.append(i)
            elif not texts[row].strip():
                texts[row] = text
            elif text.strip() and text.strip() != texts[row].strip():
                raise _disagree(dataset, i, name, texts[row])
        tables.append(dataset.documents.take(pa.array(new, pa.int64())))
        table = dataset.interactions
        moved = pa.array(place[table["item"].to_numpy()], pa.int32())
        at = table.column_names.index("item")
        interactions.append(table.set_column(at, table.schema.field("item"), moved))
    documents = pa.concat_tables(tables)
    documents = documents.set_column(
        documents.column_names.index("text"), "text", pa.array(texts, pa.string())
    )
    return documents, pa.concat_tables(interactions, promote_options="default")


def refuse_strangers(train: Dataset, test: Dataset) -> None:
    """Refuse test interactions of which none continues a history of the training data.

    Raises
    ------
    DataError
        Saying so.
    """
    if set(cells(train.interactions, "user")).isdisjoint(cells(test.interactions, "user")):
        raise DataError(
            "no user of the test data has a history in the training data, so nothing can be continued",
            where=test.source,
            fix="give later interactions of the same users, under the same ids",
        )


def _refuse_times_of_some(sources: Sequence[Dataset]) -> None:
    timed = [dataset.interactions["time"].null_count == 0 for dataset in sources]
    if len(set(timed)) > 1:
        without, having = sources[timed.index(False)].source, sources[timed.index(True)].source
        raise DataError(
            f"the interactions have no timestamps, and those of {having} have",
            where=without,
            fix="give all of them timestamps, or none",
        )


def _disagree(dataset: Dataset, row: int, name: str, other: str) -> DataError:
    text = dataset.document_texts[row]
    file, line = (dataset.documents[column][row].as_py() for column in ("file", "line"))
    return DataError(
        f"item {name!r} is {text[:SHOWN]!r} here, and {other[:SHOWN]!r} in an earlier source",
        where=f"{file}:{line}",
        fix="give different items different ids",
    )
