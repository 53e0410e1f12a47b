"""Users' histories to a problem of recommendation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedtune.collect.collected import Collected
from embedtune.collect.encode import Progress, encode, items_of
from embedtune.data.dataset import Dataset
from embedtune.errors import DataError
from embedtune.judging.recommended import Recommended
from embedtune.training.interactions import Interactions
from embedtune.types import Encoder, Vectors

METRICS = ("recall@20", "ndcg@10", "recall@10", "mrr@10")

SHOWN = 3
"""Items of a history that are shown."""


def collect(
    dataset: Dataset, encoder: Encoder, training: list[str], judging: list[str], progress: Progress | None
) -> Collected:
    """Encode the items and divide the interactions by split.

    Raises
    ------
    DataError
        When no user has two interactions.
    """
    users = dataset.interactions["user"]
    if len(users.unique()) == len(users):
        raise DataError(
            "every user has one interaction, so no history says what comes next",
            where=dataset.source,
            fix="give each user's interactions under one user id",
        )
    every = np.arange(len(dataset.documents))
    items = encode(encoder, items_of(dataset, encoder, "document", every), "document", progress, dataset)
    history = interactions(dataset, items, training, encoder)
    test = interactions(dataset, items, judging, encoder) if judging else None
    train = Recommended(history)
    texts = _histories(dataset, history)
    labels = int(np.count_nonzero(history.counts))
    found = Collected(train, texts * 3, labels, METRICS, train_from=train.groups)
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
    table = dataset.interactions
    user, names = dataset.users
    number = np.argsort(np.array(sorted(range(len(names)), key=names.__getitem__), np.int64))
    kept = pc.is_in(table["split"], pa.array(splits, pa.string())).to_numpy()
    table = table.filter(pa.array(kept))
    values = {name: None if table[name].null_count else table[name].to_numpy() for name in ("rating", "time")}
    return Interactions.of(
        items,
        number[user[kept]],
        table["item"].to_numpy(),
        dataset.document_ids,
        rating=values["rating"],
        time=values["time"],
        users=len(names),
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
