"""What documents are called, encoded as queries: adapters learn from it where labels are few."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np

from embedtune.collect.collected import Collected
from embedtune.collect.encode import by_id, encode
from embedtune.data.dataset import Dataset
from embedtune.data.titles import titles
from embedtune.encoders.pace import Unfinished, within
from embedtune.judging.labelled import Labelled
from embedtune.judging.verdict import FEWEST
from embedtune.training.budget import Budget
from embedtune.training.of_documents import PseudoQueries
from embedtune.types import Encoder

MOST = 4000
"""Titles that are encoded, at most: a fraction of the time that the documents take."""

FEWEST_TITLES = 100
"""Fewer titles say too little of a collection."""

MOST_LABELS = 5000
"""Labelled queries up to which titles are tried; the most that they were measured with are 807."""

SHARE = 0.2
"""Part of the time left that encoding them may take."""

WITHOUT = "titles do not train in this run"
"""What is told while encoding them, once it is clear that the time does not suffice."""


def with_titles(found: Collected, dataset: Dataset, encoder: Encoder, budget: Budget) -> Collected:
    """Add the titles of a part of the documents to what trains, where they may be of use.

    They are left out where the model reads no texts, where reading them costs money, where the labels are
    of the same kind, and where they would not have vectors within a part of the time that is left.
    """
    train = found.train
    if not isinstance(train, Labelled) or train.made is not None or found.made or dataset.images:
        return found
    if not FEWEST <= found.labels <= MOST_LABELS:
        return found
    if by_id(encoder, "query") or by_id(encoder, "document"):
        return found
    texts, documents = titles(dataset, MOST)
    cost = getattr(encoder, "cost", None)
    if len(texts) < FEWEST_TITLES or (cost is not None and cost(texts, kind="query") is not None):
        return found
    with contextlib.suppress(Unfinished), within(budget.leaving(1 - SHARE).deadline, WITHOUT):
        vectors = encode(encoder, texts, "query", budget.progress)
        pseudo = PseudoQueries(np.asarray(vectors, np.float32), documents)
        return replace(found, train=replace(train, pseudo=pseudo))
    return found
