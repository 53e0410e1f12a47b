"""Labelled items with their vectors: what the tuners of a classification are fitted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.errors import DataError, VectorError
from embedtune.mapped import gather
from embedtune.types import Similarity, Transform, Vectors


@dataclass(frozen=True)
class LabelledItems:
    """Items and the classes that each belongs to; nothing held out is in here.

    Parameters
    ----------
    vectors : float32 array of shape (n, d)
        Unit length where the similarity is cosine.
    labels : csr_matrix of shape (n, C)
        1 where an item belongs to a class. A row may have several, or none where no class applies.
    classes : sequence of str
        Names of the C classes.
    similarity : str
        ``"cosine"`` or ``"dot"``.

    Raises
    ------
    VectorError
        When vectors, labels and classes do not belong together.
    """

    vectors: Vectors
    labels: csr_matrix
    classes: Sequence[str]
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.vectors), len(self.classes)):
            raise VectorError(
                f"labels of shape {self.labels.shape} for {len(self.vectors)} vectors "
                f"and {len(self.classes)} classes",
                fix="give one row an item and one column a class",
            )

    @classmethod
    def of(
        cls,
        vectors: Vectors,
        labels: Sequence[str] | Sequence[Sequence[str]],
        *,
        classes: Sequence[str] | None = None,
        similarity: Similarity = "cosine",
    ) -> LabelledItems:
        """Build it from names: one label an item, or a list of them.

        Parameters
        ----------
        vectors : float32 array of shape (n, d)
        labels : sequence of str, or of sequences of str
            n of them.
        classes : sequence of str, optional
            The classes and their order; the sorted labels by default.
        similarity : str

        Raises
        ------
        DataError
            When a label is not among ``classes``.

        Examples
        --------
        >>> items = LabelledItems.of(np.eye(2, dtype=np.float32), [["b", "a"], ["b"]])
        >>> items.classes, items.labels.toarray().tolist()
        (['a', 'b'], [[1.0, 1.0], [0.0, 1.0]])
        """
        given = [[one] if isinstance(one, str) else list(dict.fromkeys(one)) for one in labels]
        names = sorted({name for row in given for name in row}) if classes is None else list(classes)
        place = {name: column for column, name in enumerate(names)}
        unknown = next((name for row in given for name in row if name not in place), None)
        if unknown is not None:
            raise DataError(f"label {unknown!r} is not among the classes", fix="name it in classes")
        columns = np.array([place[name] for row in given for name in row], np.int64)
        ends = np.cumsum([0, *map(len, given)])
        ones = np.ones(len(columns), np.float32)
        matrix = csr_matrix((ones, columns, ends), shape=(len(given), len(names)))
        matrix.sort_indices()
        return cls(vectors, matrix, names, similarity)

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[np.int64]) -> LabelledItems:
        """Keep some of the items; the classes stay."""
        return replace(self, vectors=gather(self.vectors, rows), labels=self.labels[rows])

    def moved(self, vectors: Vectors) -> LabelledItems:
        """Give the same items with other vectors, (n, d')."""
        return replace(self, vectors=vectors)

    def mapped(self, below: Transform) -> LabelledItems:
        """Give the same items with the vectors that ``below`` gives for documents."""
        return self.moved(below.documents(np.asarray(self.vectors, np.float32)))

    @property
    def cosine(self) -> bool:
        """Whether mapped vectors are brought to unit length."""
        return self.similarity == "cosine"

    @cached_property
    def single(self) -> bool:
        """Whether every item has exactly one class."""
        return bool(np.all(np.diff(self.labels.indptr) == 1))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Items of each class, (C,)."""
        return np.bincount(self.labels.indices, minlength=len(self.classes))

    def names(self, row: int) -> list[str]:
        """Give the classes of one item."""
        return [self.classes[column] for column in self.labels[row].indices]


def few_of_each(items: LabelledItems, per_class: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose about ``per_class`` items of each class: what few-shot learning gets to see.

    Rows are taken in random order, and kept while any of their classes has room; rows without a class
    count as one class of their own.

    Parameters
    ----------
    items : LabelledItems
    per_class : int
        From 1. A class with fewer gives all that it has.
    seed : int
        Which ones.

    Returns
    -------
    int64 array
        Rows, ascending.
    """
    room = Counter(dict.fromkeys(range(-1, len(items.classes)), per_class))
    kept = []
    for row in np.random.default_rng(seed).permutation(len(items)).tolist():
        own = items.labels.indices[items.labels.indptr[row] : items.labels.indptr[row + 1]].tolist() or [-1]
        if any(room[column] > 0 for column in own):
            room.subtract(own)
            kept.append(row)
    return np.sort(np.array(kept, np.int64))
