"""Users' histories to a problem of recommendation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from embedtune.collect.collected import Collected
from embedtune.collect.encode import Progress, encode, items_of
from embedtune.data.dataset import Dataset, cells
from embedtune.judging.recommended import Recommended
from embedtune.tuners.interactions import Interactions
from embedtune.types import Encoder, Vectors

METRICS = ("recall@20", "ndcg@10", "recall@10", "mrr@10")

SHOWN = 3
"""Items of a history that are shown."""


def collect(
    dataset: Dataset, encoder: Encoder, training: list[str], judging: list[str], progress: Progress | None
) -> Collected:
    """Encode the items and divide the interactions by split."""
    every = np.arange(len(dataset.documents))
    items = encode(encoder, items_of(dataset, encoder, "document", every), "document", progress, dataset)
    history = interactions(dataset, items, training, encoder)
    test = interactions(dataset, items, judging, encoder) if judging else None
    train = Recommended(history)
    texts = _histories(dataset, history)
    users = int(np.count_nonzero(history.counts))
    found = Collected(train, texts * 3, users, METRICS, train_from=train.groups)
    if test is None or not len(test):
        return found
    judged = Recommended(history, test)
    final = judged.final()
    return replace(
        found,
        test=judged,
        test_texts=[texts[user] for user in final.held % history.users],
        test_rows=final.held,
        test_train=final.train,
        test_strata=dict(final.strata),
        test_natural=final.natural,
        test_from=final.held % history.users,
    )


def interactions(
    dataset: Dataset, items: Vectors, splits: list[str], encoder: Encoder | None = None
) -> Interactions:
    """Give the interactions of some splits; users have the same number whatever the split."""
    rows = [row for row in dataset.interactions.to_pylist() if row["split"] in splits]
    number = {user: n for n, user in enumerate(sorted(set(cells(dataset.interactions, "user"))))}
    columns = {name: [row[name] for row in rows] for name in ("item", "rating", "time")}
    return Interactions.of(
        items,
        np.array([number[row["user"]] for row in rows], np.int64),
        np.array(columns["item"], np.int64),
        dataset.document_ids,
        rating=None if None in columns["rating"] else np.array(columns["rating"]),
        time=None if None in columns["time"] else np.array(columns["time"]),
        users=len(number),
        similarity="cosine" if encoder is None else encoder.similarity,
    )


def _histories(dataset: Dataset, history: Interactions) -> list[str]:
    """Give the latest items of every user, as one text."""
    ends = np.cumsum(history.counts)
    names = [text or id for text, id in zip(dataset.document_texts, dataset.document_ids, strict=True)]
    shown = []
    for end, count in zip(ends.tolist(), history.counts.tolist(), strict=True):
        latest = history.item[max(end - count, end - SHOWN) : end].tolist()
        shown.append("after " + "; ".join(names[item] for item in latest))
    return shown
