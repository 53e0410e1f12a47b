"""What is searched: documents with ids, their vectors, and the hits among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.data.dataset import Dataset
from embedtune.search import top_k
from embedtune.types import Content, Vectors

Documents = Sequence[str] | Mapping[str, str] | Dataset


class Hit(NamedTuple):
    """One document found: its id (its position where it has none), its score (higher is better), its text."""

    id: str
    score: float
    text: str


@dataclass(frozen=True)
class Searched:
    """Documents, without vectors.

    Parameters
    ----------
    ids, texts : tuple of str
        Positions serve as ids where there are none.
    by_id : bool
        Whether the ids are the documents' own, which maps may know.
    content : {"text", "id", "image"}
        What the encoder takes.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    by_id: bool
    content: Content

    @classmethod
    def of(cls, documents: Documents, content: Content) -> Searched:
        """Read what a user gives: texts (or ids, where the encoder takes those), a mapping, a dataset."""
        if isinstance(documents, Dataset):
            return cls(tuple(documents.document_ids), tuple(documents.items("document")), True, content)
        if isinstance(documents, Mapping):
            return cls(tuple(documents), tuple(documents.values()), True, content)
        texts, by_id = tuple(documents), content == "id"
        return cls(texts if by_id else tuple(map(str, range(len(texts)))), texts, by_id, content)

    @property
    def items(self) -> tuple[str, ...]:
        """What the encoder takes."""
        return self.ids if self.content == "id" else self.texts

    @property
    def own_ids(self) -> tuple[str, ...] | None:
        """The ids that maps may know."""
        return self.ids if self.by_id else None

    def rows(self, ids: Collection[str]) -> dict[str, int]:
        """Give the row of each of ``ids`` that is here."""
        wanted = set(ids)
        return {name: row for row, name in enumerate(self.ids) if name in wanted}

    def best(
        self, queries: Vectors, vectors: Vectors, k: int, exclude: Sequence[int] = ()
    ) -> list[list[Hit]]:
        """Find the ``k`` best documents for each query, exactly; best first.

        Parameters
        ----------
        queries : float32 array of shape (n, d)
        vectors : float32 array of shape (N, d)
            The tuned vectors of the documents; nothing is normalised here.
        k : int
            At least 1.
        exclude : sequence of int
            Rows that are no hits.
        """
        hidden = None
        if len(exclude):
            rows, columns = np.repeat(np.arange(len(queries)), len(exclude)), np.tile(exclude, len(queries))
            shape = (len(queries), len(self.ids))
            hidden = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
        return self.hits(*top_k(queries, vectors, k, exclude=hidden))

    def hits(self, indices: NDArray[np.int64], scores: NDArray[np.float32]) -> list[list[Hit]]:
        """Give the documents that a search found, as rows (n, k) and scores (n, k); -1 is none."""
        return [
            [Hit(self.ids[i], float(s), self.texts[i]) for i, s in zip(*row, strict=True) if i >= 0]
            for row in zip(indices, scores, strict=True)
        ]
