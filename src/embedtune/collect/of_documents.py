"""What documents say of themselves, encoded beside the labels: titles, and what the base does not read."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from embedtune.collect import titles, unread
from embedtune.collect.collected import Collected
from embedtune.collect.encode import by_id
from embedtune.data.dataset import Dataset
from embedtune.encoders.pace import Unfinished, within
from embedtune.judging.labelled import Labelled
from embedtune.judging.verdict import FEWEST
from embedtune.training.budget import Budget
from embedtune.types import Encoder

SHARE = 0.2
"""Part of the time left that encoding each may take."""

NO_TITLES = "titles do not train in this run"
"""What is told while encoding titles, once it is clear that the time does not suffice."""

NOT_READ_ON = "documents are read as far as the model reads"
"""The same of unread ends."""


def with_of_documents(found: Collected, dataset: Dataset, encoder: Encoder, budget: Budget) -> Collected:
    """Add titles and unread ends of documents to what trains a search, where they may be of use.

    They are left out where nothing is tuned or documents are no texts, and where they would not have vectors
    within a part of the time that is left; titles also where labels are of the same kind or many. See
    :func:`~embedtune.collect.titles.pseudo_queries` and :func:`~embedtune.collect.unread.unread_ends`.
    """
    train, pseudo, ends = found.train, None, None
    if not isinstance(train, Labelled) or found.labels < FEWEST:
        return found
    if "document" in dataset.images or by_id(encoder, "document"):
        return found
    if train.made is None and not found.made and found.labels <= titles.MOST_LABELS:
        with contextlib.suppress(Unfinished), within(budget.leaving(1 - SHARE).deadline, NO_TITLES):
            pseudo = titles.pseudo_queries(dataset, encoder, budget)
    with contextlib.suppress(Unfinished), within(budget.leaving(1 - SHARE).deadline, NOT_READ_ON):
        ends = unread.unread_ends(dataset, encoder, budget)
    if pseudo is None and ends is None:
        return found
    return replace(found, train=replace(train, pseudo=pseudo, unread=ends))
