"""A teacher that is a larger embedding model: its similarities are the scores."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embedtune.collect.encode import encode, items_of
from embedtune.data.dataset import Dataset
from embedtune.errors import VectorError
from embedtune.search import top_k
from embedtune.teachers.base import Candidates, Progress, Rows, Scores
from embedtune.types import Encoder, Kind, Vectors

DEPTH = 16
"""Documents that are scored for a query: its nearest by the teacher, and its nearest by the base."""

PAIRS = 100_000
"""Pairs whose similarity is computed at once."""


class ModelTeacher:
    """The similarities of another encoder's vectors, which may have any number of dimensions.

    Parameters
    ----------
    encoder : Encoder
        Any that :func:`embedtune.encoders.load_encoder` gives: a model, one behind an API, or vectors that
        exist already.
    depth : int
        Documents a query, by the teacher and by the base each.
    """

    kind: ClassVar[str] = "embedding model"

    def __init__(self, encoder: Encoder, *, depth: int = DEPTH) -> None:
        self.encoder, self.depth = encoder, depth
        self.name = encoder.name

    def score(
        self, dataset: Dataset, rows: Rows, candidates: Candidates, progress: Progress | None = None
    ) -> Scores:
        """Score the documents nearest to each query, and those that are judged relevant for it.

        Raises
        ------
        VectorError
            When queries and documents have vectors of different dimensions.
        """
        told = None if progress is None else lambda stage, *done: progress(f"{stage} (teacher)", *done)
        every = np.arange(len(dataset.documents))

        def vectors(kind: Kind, which: Rows) -> Vectors:
            items = items_of(dataset, self.encoder, kind, which)
            return encode(self.encoder, items, kind, told, dataset)

        documents, queries = vectors("document", every), vectors("query", rows)
        if queries.shape[1] != documents.shape[1]:
            raise VectorError(
                f"queries have {queries.shape[1]} dimensions, documents {documents.shape[1]}",
                where=self.name,
                fix="encode both with the same model",
            )
        k = min(self.depth, len(documents))
        near = np.c_[top_k(queries, documents, k)[0], candidates(rows, k)]
        asked = dataset.relevance()[rows].tocoo()
        place = np.r_[np.repeat(np.arange(len(rows)), near.shape[1]), asked.row].astype(np.int64)
        document = np.r_[near.ravel(), asked.col].astype(np.int64)
        score = np.empty(len(place), np.float64)
        for start in range(0, len(place), PAIRS):
            part = slice(start, start + PAIRS)
            score[part] = np.einsum("ij,ij->i", queries[place[part]], documents[document[part]])
        return Scores.of(rows[place], document, score, np.arange(len(place)) >= near.size)
