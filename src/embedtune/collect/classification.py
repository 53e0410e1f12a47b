"""Labelled items to a problem of classification."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedtune.collect.collected import Collected
from embedtune.collect.encode import Progress, encode, items_of
from embedtune.data.dataset import Dataset, cells
from embedtune.data.duplicates import near_duplicates
from embedtune.errors import DataError
from embedtune.judging.classified import UNSEEN, Classified
from embedtune.training.items import LabelledItems
from embedtune.types import Encoder


def collect(
    dataset: Dataset, encoder: Encoder, training: list[str], judging: list[str], progress: Progress | None
) -> Collected:
    """Encode the items and divide them by split; the test items are judged by the training items.

    Where not one class of the test items trains, they are judged among each other, as in search by
    example: see ``unseen`` of :class:`~embedtune.judging.classified.Classified`.

    Raises
    ------
    DataError
        When all items to learn from have one and the same label.
    """
    split, contents = np.array(cells(dataset.documents, "split")), dataset.contents("document")
    rows = {which: np.flatnonzero(np.isin(split, names)) for which, names in _parts(training, judging)}
    names = {which: {one for row in rows[which] for one in dataset.labels[row]} for which in rows}
    if len(names["train"]) == 1 and all(dataset.labels[row] for row in rows["train"]):
        what = f"all {len(rows['train']):,} items to learn from have the same label, {names['train'].pop()!r}"
        raise DataError(what, where=dataset.source, fix="add items with other labels")
    classes = sorted(names["train"] | names["test"])

    def part(which: NDArray[np.int64]) -> LabelledItems:
        chosen = items_of(dataset, encoder, "document", which)
        vectors = encode(encoder, chosen, "document", progress, dataset)
        labels = [dataset.labels[row] for row in which]
        return LabelledItems.of(vectors, labels, classes=classes, similarity=encoder.similarity)

    def grouped(which: NDArray[np.int64]) -> NDArray[np.int64]:
        return near_duplicates([contents[row] for row in which])

    items = part(rows["train"])
    unseen = len(names["train"]) >= 4 and bool(names["test"]) and not names["test"] & names["train"]
    train = Classified(items, grouped(rows["train"]), unseen=unseen)
    texts = {which: [dataset.document_texts[row] for row in rows[which]] for which in rows}
    found = Collected(train, texts["train"], len(items), train.metrics, train_from=rows["train"])
    if not len(rows["test"]):
        return found
    test = Classified(part(rows["test"]), grouped(rows["test"]), None if unseen else items, unseen)
    return replace(
        found,
        metrics=test.metrics,
        test=test,
        test_texts=texts["test"],
        test_rows=np.arange(len(test)),
        test_train=test.everything,
        test_from=rows["test"],
        test_strata={UNSEEN: np.ones(len(test), np.bool_)} if unseen else {},
    )


def _parts(training: list[str], judging: list[str]) -> list[tuple[str, list[str]]]:
    return [("train", training), ("test", judging)]
