"""What documents are called, encoded as queries: adapters learn from it where labels are few."""

from __future__ import annotations

import numpy as np

from embedtune.collect.encode import by_id, encode
from embedtune.data.dataset import Dataset
from embedtune.data.titles import titles
from embedtune.training.budget import Budget
from embedtune.training.of_documents import PseudoQueries
from embedtune.types import Encoder

MOST = 4000
"""Titles that are encoded, at most: a fraction of the time that the documents take."""

FEWEST_TITLES = 100
"""Fewer titles say too little of a collection."""

MOST_LABELS = 5000
"""Labelled queries up to which titles are tried; the most that they were measured with are 807."""


def pseudo_queries(dataset: Dataset, encoder: Encoder, budget: Budget) -> PseudoQueries | None:
    """Encode the titles of a part of the documents as queries; None where there are few.

    They are left out where queries are no texts, and where reading them costs money.
    """
    if "query" in dataset.images or by_id(encoder, "query"):
        return None
    texts, documents = titles(dataset, MOST)
    cost = getattr(encoder, "cost", None)
    if len(texts) < FEWEST_TITLES or (cost is not None and cost(texts, kind="query") is not None):
        return None
    vectors = encode(encoder, texts, "query", budget.progress)
    return PseudoQueries(np.asarray(vectors, np.float32), documents)
