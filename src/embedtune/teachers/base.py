"""What a teacher gives: scores of some documents for some queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset

Rows = NDArray[np.int64]
Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""

Candidates = Callable[[Rows, int], Rows]
"""Takes rows of queries (q,) and k to the rows of the base's k nearest documents of each, (q, k)."""


@dataclass(frozen=True)
class Scores:
    """Scores of pairs of query and document: by query, the highest score first, each pair once.

    Parameters
    ----------
    query, document : int64 arrays of shape (p,)
        Rows of the dataset's queries and documents.
    score : float64 array of shape (p,)
        In the teacher's own units; higher is better. Only those of one query are comparable.
    prompted : bool array of shape (p,)
        Whether there is a score only because the document is judged relevant: for a query without labels
        nobody would have asked for it.
    """

    query: Rows
    document: Rows
    score: Values
    prompted: Mask

    @classmethod
    def of(
        cls,
        query: NDArray[np.integer],
        document: NDArray[np.integer],
        score: Values,
        prompted: Mask | None = None,
    ) -> Scores:
        """Bring pairs into order; of a pair that comes twice the first is kept."""
        prompted = np.zeros(len(query), bool) if prompted is None else prompted
        pairs = np.stack([np.asarray(query, np.int64), np.asarray(document, np.int64)])
        _, first = np.unique(pairs, axis=1, return_index=True)
        rows, columns, score = pairs[0, first], pairs[1, first], np.asarray(score, np.float64)[first]
        order = np.lexsort((columns, -score, rows))
        return cls(rows[order], columns[order], score[order], prompted[first][order])

    def __len__(self) -> int:
        """Pairs."""
        return len(self.query)

    @property
    def starts(self) -> Rows:
        """Where each query's pairs begin, (queries with any,)."""
        return np.flatnonzero(np.r_[True, self.query[1:] != self.query[:-1]][: len(self)]).astype(np.int64)

    def take(self, keep: NDArray[np.bool_]) -> Scores:
        """Keep some of the pairs."""
        return Scores(self.query[keep], self.document[keep], self.score[keep], self.prompted[keep])


class Teacher(Protocol):
    """Knows more than the base, and says what it thinks of documents for queries."""

    kind: ClassVar[str]
    name: str

    def score(
        self, dataset: Dataset, rows: Rows, candidates: Candidates, progress: Progress | None = None
    ) -> Scores:
        """Score documents for the queries ``rows`` of a dataset of retrieval, as many as it sees fit.

        Documents that are judged relevant for a query are always among those that are scored, if the
        teacher can score them.
        """
        ...
