"""Scored pairs to a problem of similarity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedtune.collect.collected import DEV, Collected
from embedtune.collect.encode import Progress, documents_of
from embedtune.data.dataset import Dataset, cells
from embedtune.data.duplicates import near_duplicates
from embedtune.judging.scored import Scored
from embedtune.types import Encoder

ARROW = " ↔ "
"""Between the two sentences of a pair, where it is shown."""

METRICS = ("spearman", "pearson")


def collect(
    dataset: Dataset, encoder: Encoder, training: list[str], judging: list[str], progress: Progress | None
) -> Collected:
    """Encode the sentences, each once and as a document, and divide the pairs by split."""
    vectors, _, row_of = documents_of(dataset, encoder, progress)  # as they lie in a file, never in our order
    alike = len(row_of) + np.arange(len(vectors))
    alike[row_of] = near_duplicates(dataset.contents("document"))
    split = np.array(cells(dataset.pairs, "split"))
    left, right = (dataset.pairs[name].to_numpy().astype(np.int64) for name in ("left", "right"))
    score = dataset.pairs["score"].to_numpy().astype(np.float64)

    def part(rows: NDArray[np.int64]) -> tuple[Scored, list[str]]:
        texts = [
            dataset.document_texts[a] + ARROW + dataset.document_texts[b]
            for a, b in zip(left[rows], right[rows], strict=True)
        ]
        sides = row_of[left[rows]], row_of[right[rows]]
        return Scored(vectors, *sides, score[rows], similarity=encoder.similarity, alike=alike), texts

    rows = np.flatnonzero(np.isin(split, training))
    train, texts = part(rows)
    if "train" in training:
        train = replace(train, outside=split[rows] == DEV)
    found = Collected(train, texts, len(train), METRICS, train_from=rows)
    rows = np.flatnonzero(np.isin(split, judging))
    if not len(rows):
        return found
    test, texts = part(rows)
    known = test.seen(train)
    return replace(
        found,
        test=test,
        test_texts=texts,
        test_rows=np.arange(len(test)),
        test_strata={"seen": known, "unseen": ~known},
        test_from=rows,
    )
