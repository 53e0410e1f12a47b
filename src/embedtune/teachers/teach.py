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
from embedtune.duration import duration
from embedtune.encoders.pace import Pace, Unfinished, current_pace, paced
from embedtune.errors import DataError, UserError
from embedtune.search import top_k
from embedtune.teachers.base import Progress, Rows, Scores, Teacher
from embedtune.teachers.calibrate import Calibration, calibrate
from embedtune.teachers.scores_file import ScoresFile
from embedtune.training.budget import Budget
from embedtune.types import Encoder, Vectors

LEAST = 0.05
"""A label that is less probable is not made."""

SHARE = 0.5
"""Share of the time left, once the base's documents have vectors, that a teacher may take."""


class Untaught(Exception):
    """The teacher did not end in its share of the time; says how far it came."""


def teach(
    dataset: Dataset,
    teacher: Teacher,
    *,
    encoder: Encoder,
    training: Sequence[str],
    queries: Sequence[str] | str | Path = (),
    scores_serve: bool = False,
    progress: Progress | None = None,
    budget: Budget | None = None,
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
    budget : Budget, optional
        When all has to end. The base's documents, which are needed in any case, are encoded first; the
        teacher gets :data:`SHARE` of what is left then.

    Returns
    -------
    Dataset
        With a label in the split ``"made"`` for each query without labels, weighted by how probable it is,
        and with ``taught``. ``roles["made by"]`` names the teacher, and how often it is right.

    Raises
    ------
    UserError
        When the task is another, there is nothing to label, or the scores are of none of the queries.
    Untaught
        When the teacher does not end in its share of the time. What it has scored is in its cache, if any.
    Unfinished
        When the time that holds here ends before the base's texts have vectors.
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
    candidates = _Nearest(dataset, encoder, progress)
    rows = np.union1d(labelled, unlabelled)
    scores = _scores(teacher, shown, rows, candidates, progress, budget or Budget())
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


def _scores(
    teacher: Teacher,
    dataset: Dataset,
    rows: Rows,
    candidates: _Nearest,
    progress: Progress | None,
    budget: Budget,
) -> Scores:
    """Ask the teacher, in its share of the time."""
    if budget.deadline is None or teacher.kind == ScoresFile.kind:
        return teacher.score(dataset, rows, candidates, progress)
    candidates.encode_documents()
    share = budget.leaving(1 - SHARE).deadline
    assert share is not None
    pace = Pace(share, "the teacher's labels are left out in this run")
    try:
        with paced(pace):
            return teacher.score(dataset, rows, candidates, progress)
    except Unfinished as late:
        if late.pace is not pace:  # the base's queries: the time is over
            raise
        rest = pace.rest()
        takes = "" if rest is None else f", and the rest takes about {duration(max(rest, 1.0))}"
        kept = "another run goes on where this one stopped" if pace.kept else "give more time"
        raise Untaught(
            f"the teacher {teacher.name} had done {pace.done:,} of {pace.total:,} texts or pairs when "
            f"{SHARE:.0%} of the time was over: its labels were left out{takes}; {kept}"
        ) from None


class _Nearest:
    """The base's nearest documents; its vectors are made when first asked for, and in the base's time."""

    def __init__(self, dataset: Dataset, encoder: Encoder, progress: Progress | None) -> None:
        self._dataset, self._encoder, self._progress = dataset, encoder, progress
        self._documents: Vectors | None = None
        self._pace = current_pace()

    def encode_documents(self) -> Vectors:
        """Give the vectors of all documents, (N, d)."""
        if self._documents is None:
            every = np.arange(len(self._dataset.documents))
            items = items_of(self._dataset, self._encoder, "document", every)
            with paced(self._pace):
                self._documents = encode(self._encoder, items, "document", self._progress, self._dataset)
        return self._documents

    def __call__(self, rows: Rows, k: int) -> Rows:
        """Give the rows of the ``k`` nearest documents of each query, (q, k)."""
        dataset, encoder, documents = self._dataset, self._encoder, self.encode_documents()
        items = items_of(dataset, encoder, "query", rows)
        with paced(self._pace):
            queries = encode(encoder, items, "query", self._progress, dataset)
        return top_k(queries, documents, min(k, len(dataset.documents)))[0]


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
