"""How documents open: with a title or a first sentence, which serves as a query that nobody had to ask."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from embedtune.data.dataset import Dataset, cells
from embedtune.data.pairs import MOST_DOCUMENTS, first_sentence, useful


def openings(dataset: Dataset, most: int, *, seed: int = 0) -> tuple[list[str], NDArray[np.int64]]:
    """Give the openings of a random part of the documents that have one.

    An opening is the document's title where the data has one, else its first sentence, and the document goes
    on after it.

    Parameters
    ----------
    dataset : Dataset
        A retrieval dataset of texts; its documents may have a column ``title``.
    most : int
        Openings at most.
    seed : int
        Which documents are taken.

    Returns
    -------
    texts : list of str
        The openings.
    documents : int64 array of shape (m,)
        Row of the document that each opens, ascending.

    Examples
    --------
    >>> from embedtune.data import read
    >>> rows = [{"query": "lump on the lid", "positive": "A stye is a lump. It hurts and heals within days."}]
    >>> openings(read(rows), 10)
    (['A stye is a lump.'], array([0]))
    """
    texts = dataset.document_texts
    titled = "title" in dataset.documents.column_names
    titles = cells(dataset.documents, "title") if titled else [None] * len(texts)
    found: dict[int, str] = {}
    for row in np.random.default_rng(seed).permutation(len(texts)).tolist():
        if len(found) == most:
            break
        opening, rest = _opening(texts[row], titles[row])
        if useful(opening, rest):
            found[row] = opening
    count = Counter(found.values())
    rows = sorted(row for row, opening in found.items() if count[opening] <= MOST_DOCUMENTS)
    return [found[row] for row in rows], np.array(rows, np.int64)


def _opening(text: str, title: str | None) -> tuple[str, str]:
    """Split a document after its opening."""
    if title and text.startswith(title):
        return title, text[len(title) :].strip()
    return first_sentence(text)
