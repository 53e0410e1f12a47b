"""What the base does not read of long documents, encoded in windows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedtune.collect.collected import Collected
from embedtune.collect.encode import by_id, encode
from embedtune.data.dataset import Dataset
from embedtune.encoders.pace import Unfinished, current_pace, within
from embedtune.encoders.windows import mean_of_each
from embedtune.judging.labelled import Labelled
from embedtune.judging.verdict import FEWEST
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

SHARE = 0.2
"""Part of the time left that encoding them may take."""

WITHOUT = "documents are read as far as the model reads"
"""What is told while encoding them, once it is clear that the time does not suffice."""


def with_unread(found: Collected, dataset: Dataset, encoder: Encoder, budget: Budget) -> Collected:
    """Add what the model does not read of documents, where many are longer than that.

    It is left out where the model reads no texts, or does not cut them into windows (those of an API,
    where reading costs money, do not), and where encoding would take more than a part of the time left.
    """
    train, cut = found.train, getattr(encoder, "later_windows", None)
    if not isinstance(train, Labelled) or found.labels < FEWEST:
        return found
    if cut is None or "document" in dataset.images or by_id(encoder, "document"):
        return found
    with contextlib.suppress(Unfinished), within(budget.leaving(1 - SHARE).deadline, WITHOUT):
        texts, rows = _windows(cut, dataset.document_texts, budget)
        if not LEAST_LONG * len(dataset.documents) <= len(np.unique(rows)) <= MOST_LONG:
            return found
        means = mean_of_each(encode(encoder, texts, "document", budget.progress), rows)
        return replace(found, train=replace(train, unread=Unread(*means)))
    return found


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
