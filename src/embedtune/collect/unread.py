"""What the base does not read of long documents, encoded in windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedtune.collect.encode import encode
from embedtune.data.dataset import Dataset
from embedtune.encoders.pace import current_pace
from embedtune.encoders.windows import mean_of_each
from embedtune.training.budget import Budget
from embedtune.training.of_documents import Unread
from embedtune.types import Encoder

Cut = Callable[[Sequence[str]], tuple[list[str], NDArray[np.int64]]]
"""Cuts what is not read of some documents into windows, and gives the row of each."""

BLOCK = 1024
"""Documents that are cut at once."""

LEAST_LONG = 0.05
"""Share of the documents that are longer than the model reads, from which the rest of them is read."""

MOST_LONG = 20_000
"""Long documents at most: each has a vector of its own in the artifact."""


def unread_ends(dataset: Dataset, encoder: Encoder, budget: Budget) -> Unread | None:
    """Encode what the model does not read of documents; None where few of these are longer, or very many.

    Models that do not cut texts into windows read as before (those of an API, where reading costs money, do
    not).
    """
    cut = getattr(encoder, "later_windows", None)
    if cut is None:
        return None
    texts, rows = _windows(cut, dataset.document_texts, budget)
    if not LEAST_LONG * len(dataset.documents) <= len(np.unique(rows)) <= MOST_LONG:
        return None
    return Unread(*mean_of_each(encode(encoder, texts, "document", budget.progress), rows))


def _windows(cut: Cut, documents: list[str], budget: Budget) -> tuple[list[str], NDArray[np.int64]]:
    """Cut the documents, block by block, until too many are long; give the windows, and the row of each."""
    texts: list[str] = []
    rows, long, pace = [np.empty(0, np.int64)], 0, current_pace()
    for start in range(0, len(documents), BLOCK):
        budget.tell("look for long documents", start, len(documents))
        if pace is not None:
            pace.check()
        found, of = cut(documents[start : start + BLOCK])
        texts += found
        rows.append(start + of)
        long += len(np.unique(of))
        if long > MOST_LONG:
            break
    budget.tell("look for long documents", len(documents), len(documents))
    return texts, np.concatenate(rows)
