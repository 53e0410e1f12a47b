"""What documents are called: a query that nobody had to ask."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset, cells
from embedtune.data.pairs import MOST_DOCUMENTS, useful


def titles(dataset: Dataset, most: int, *, seed: int = 0) -> tuple[list[str], NDArray[np.int64]]:
    """Give the titles of a random part of the documents that have one, and a text after it.

    Parameters
    ----------
    dataset : Dataset
        Of texts. Its documents may have a column ``title``; without it there are none.
    most : int
        Titles at most.
    seed : int
        Which documents are taken.

    Returns
    -------
    texts : list of str
        The titles. One that more than :data:`~embedtune.data.pairs.MOST_DOCUMENTS` have is left out.
    documents : int64 array of shape (m,)
        Row of the document that each belongs to, ascending.

    Examples
    --------
    >>> import pyarrow as pa
    >>> row = {"id": "d", "text": "The stye A lump on the lid that hurts.", "title": "The stye"}
    >>> titles(Dataset("retrieval", pa.Table.from_pylist([row])), 10)
    (['The stye'], array([0]))
    """
    if "title" not in dataset.documents.column_names:
        return [], np.empty(0, np.int64)
    texts, called = dataset.document_texts, cells(dataset.documents, "title")
    found: dict[int, str] = {}
    for row in np.random.default_rng(seed).permutation(len(texts)).tolist():
        if len(found) == most:
            break
        title = called[row]
        if title and texts[row].startswith(title) and useful(title, texts[row][len(title) :].strip()):
            found[row] = title
    count = Counter(found.values())
    rows = sorted(row for row, title in found.items() if count[title] <= MOST_DOCUMENTS)
    return [found[row] for row in rows], np.array(rows, np.int64)
