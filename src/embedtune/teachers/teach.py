"""A teacher labels queries: what it is believed becomes labels that train, and never judge.

A query without labels gets the document that the teacher thinks best, as a label in the split ``"made"``
that counts as much as the teacher is probably right. How often it is right is seen on the queries that
people labelled. All its scores are kept beside: weights can follow them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedtune.collect.encode import encode, items_of
from embedtune.data.dataset import TAUGHT, Dataset, items
from embedtune.data.duplicates import plain
from embedtune.data.pairs import MADE
from embedtune.data.pool import read_pool
from embedtune.data.readers.items import made_up_id
from embedtune.errors import DataError, UserError
from embedtune.search import top_k
from embedtune.teachers.base import Candidates, Progress, Rows, Scores, Teacher
from embedtune.teachers.calibrate import Calibration, calibrate
from embedtune.types import Encoder, Vectors

LEAST = 0.05
"""A label that is less probable is not made."""


def teach(
    dataset: Dataset,
    teacher: Teacher,
    *,
    encoder: Encoder,
    training: Sequence[str],
    queries: Sequence[str] | str | Path = (),
    scores_serve: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Give the dataset with the labels and scores of a teacher.

    Parameters
    ----------
    dataset : Dataset
        Of retrieval. Its queries without any judgement are those that get labels.
    teacher : Teacher
        What scores documents.
    encoder : Encoder
        The base, whose nearest documents are candidates.
    training : sequence of str
        The splits that train; a query of another split, or one with the text of such a query, is never
        shown to the teacher.
    queries : sequence of str, or path
        Texts of more queries without labels, or a file of them, see :func:`embedtune.data.pool.read_pool`.
    scores_serve : bool
        Whether scores of labelled queries are of use by themselves: weights may follow them.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Dataset
        With a label in the split ``"made"`` for each query without labels, weighted by how probable it is,
        and with ``taught``. ``roles["made by"]`` names the teacher, and how often it is right.

    Raises
    ------
    UserError
        When the task is another, there is nothing to label, or the scores are of none of the queries.
    """
    if dataset.task != "retrieval":
        fix = "leave the teacher out, or give queries and documents"
        raise UserError(f"a teacher is for retrieval in this version, not for {dataset.task}", fix=fix)
    texts = read_pool(queries) if isinstance(queries, str | Path) else queries
    dataset = with_queries(dataset, [*texts, *getattr(teacher, "texts", ())])
    labelled, unlabelled = dataset.query_rows(training), unlabelled_rows(dataset)
    if not len(unlabelled) and not scores_serve:
        raise DataError(
            "every query has judgements, so there is nothing for the teacher to label",
            where=dataset.source,
            fix="give queries without labels (--queries FILE), or have weights follow its scores (--distil)",
        )
    shown = replace(
        dataset, qrels=dataset.qrels.filter(pc.is_in(dataset.qrels["split"], pa.array(training, pa.string())))
    )
    candidates: Candidates = _Nearest(dataset, encoder, progress)
    rows = np.union1d(labelled, unlabelled)
    scores = teacher.score(shown, rows, candidates, progress)
    if not len(scores):
        fix = "name queries of the data that have no labels"
        raise DataError("the teacher has a score for none of the queries", where=teacher.name, fix=fix)
    calibration = calibrate(scores, shown.relevance())
    best = scores.starts
    probable = calibration.probabilities(scores)
    made = best[np.isin(scores.query[best], unlabelled) & (probable[best] >= LEAST)]
    taught = pa.table(
        [
            pa.array(scores.query, pa.int32()),
            pa.array(scores.document, pa.int32()),
            pa.array(calibration.sharpness * scores.score, pa.float32()),
        ],
        schema=TAUGHT,
    )
    labels = scores.take(np.isin(np.arange(len(scores)), made))
    by = "; ".join(filter(None, [dataset.roles.get("made by"), _words(teacher, calibration)]))
    return replace(
        dataset,
        qrels=_with_labels(dataset, labels, probable[made], teacher.name),
        taught=taught,
        roles={**dataset.roles, "made by": by},
    )


def with_queries(dataset: Dataset, texts: Sequence[str]) -> Dataset:
    """Add queries without labels, each text that the dataset does not have yet once."""
    known = {plain(text) for text in dataset.query_texts}
    new = {plain(text): text.strip() for text in reversed(texts) if plain(text) not in known}
    new.pop("", None)
    if not new:
        return dataset
    ids = set(dataset.query_ids)
    rows = [
        (name if name not in ids else f"{name}-2", text, "queries", 0)
        for text in reversed(new.values())
        for name in [made_up_id("unlabelled", text)]
    ]
    tables = [dataset.queries, items(rows)]
    return replace(dataset, queries=pa.concat_tables(tables, promote_options="default"))


def unlabelled_rows(dataset: Dataset) -> Rows:
    """Give the rows of queries that have no judgement, under any row with their text; each text once."""
    judged = np.zeros(len(dataset.queries), bool)
    judged[dataset.qrels["query"].to_numpy()] = True
    taken = {plain(text) for text, known in zip(dataset.query_texts, judged, strict=True) if known}
    rows = []
    for row in np.flatnonzero(~judged).tolist():
        text = plain(dataset.query_texts[row])
        if text not in taken:
            taken.add(text)
            rows.append(row)
    return np.array(rows, np.int64)


class _Nearest:
    """The base's nearest documents; its vectors are made when they are first asked for."""

    def __init__(self, dataset: Dataset, encoder: Encoder, progress: Progress | None) -> None:
        self._dataset, self._encoder, self._progress = dataset, encoder, progress
        self._documents: Vectors | None = None

    def __call__(self, rows: Rows, k: int) -> Rows:
        """Give the rows of the ``k`` nearest documents of each query, (q, k)."""
        dataset, encoder = self._dataset, self._encoder
        if self._documents is None:
            every = np.arange(len(dataset.documents))
            items = items_of(dataset, encoder, "document", every)
            self._documents = encode(encoder, items, "document", self._progress, dataset)
        queries = encode(encoder, items_of(dataset, encoder, "query", rows), "query", self._progress, dataset)
        return top_k(queries, self._documents, min(k, len(dataset.documents)))[0]


def _with_labels(dataset: Dataset, labels: Scores, probable: Any, name: str) -> pa.Table:
    """Add labels of grade 1 in the split ``made``, which count as much as they are probable."""
    qrels = dataset.qrels
    if "weight" not in qrels.column_names:
        qrels = qrels.append_column("weight", pa.array(np.ones(len(qrels), np.float32)))
    count = len(labels)
    added = pa.table(
        {
            "query": pa.array(labels.query, pa.int32()),
            "document": pa.array(labels.document, pa.int32()),
            "grade": pa.array(np.ones(count, np.float32)),
            "split": pa.array([MADE] * count, pa.string()),
            "file": pa.array([name] * count, pa.string()),
            "line": pa.array(np.zeros(count, np.int64)),
            "weight": pa.array(probable.astype(np.float32)),
        }
    )
    return pa.concat_tables([qrels, added], promote_options="default")


def _words(teacher: Teacher, calibration: Calibration) -> str:
    if not calibration.queries:
        return (
            f"teacher {teacher.name} ({teacher.kind}; too few labelled queries to see how often it is right)"
        )
    return (
        f"teacher {teacher.name} ({teacher.kind}; right first for {calibration.first:.0%} of "
        f"{calibration.queries:,} labelled queries)"
    )
