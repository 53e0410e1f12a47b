"""Dataset and encoder to scored pairs with vectors: which train, which judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune.collect import HELD_OUT, Progress, _encode, _items_of
from embedtune.data.dataset import Dataset, cells
from embedtune.data.duplicates import near_duplicates
from embedtune.errors import DataError
from embedtune.judging.scored import Scored
from embedtune.types import Encoder

ARROW = " ↔ "
"""Between the two sentences of a pair, where it is shown."""


@dataclass(frozen=True)
class CollectedPairs:
    """The pairs that train, and those that judge, over the same items."""

    train: Scored
    train_texts: list[str]
    """Both sentences of each pair, as one text."""
    test: Scored | None
    """None where there is no test split; the verdict is then given out of fold."""
    test_texts: list[str]
    test_seen: NDArray[np.bool_]
    """Whether a test pair has a sentence of a training pair."""


def collect_scored(
    dataset: Dataset, encoder: Encoder, *, test: str = HELD_OUT, progress: Progress | None = None
) -> CollectedPairs:
    """Encode the sentences of a similarity dataset, each once, and divide its pairs.

    Parameters
    ----------
    dataset : Dataset
        Of the task ``"similarity"``.
    encoder : Encoder
        The base; both sentences are encoded as documents.
    test : str
        The split that judges; ``"none"`` trains on every split. A missing ``"test"`` is no mistake.
    progress : callable, optional
        Called with (stage, done, total).

    Raises
    ------
    DataError
        When the split does not exist, or leaves nothing to train on.
    """
    splits = dataset.splits
    if test not in (*splits, HELD_OUT, "none"):
        raise DataError(f"there is no split called {test!r}", fix=f"choose from {', '.join(splits)}")
    split = np.array(cells(dataset.pairs, "split"), str)
    held = np.zeros(len(split), bool) if test == "none" else np.isin(split, [test, HELD_OUT])
    if held.all():
        raise DataError(
            f"all pairs are in the split {splits[0] if splits else test!r}; none are left to train on",
            where=dataset.source,
            fix="add a train split, or train on all and judge out of fold with test='none' (--test none)",
        )
    vectors = _encode(
        encoder,
        _items_of(dataset, encoder, "document", np.arange(len(dataset.documents))),
        "document",
        progress,
    )
    alike = near_duplicates(dataset.document_texts)
    left, right = (dataset.pairs[name].to_numpy().astype(np.int64) for name in ("left", "right"))
    score = dataset.pairs["score"].to_numpy().astype(np.float64)

    def part(rows: NDArray[np.int64]) -> tuple[Scored, list[str]]:
        texts = [
            dataset.document_texts[a] + ARROW + dataset.document_texts[b]
            for a, b in zip(left[rows], right[rows], strict=True)
        ]
        of = Scored(vectors, left[rows], right[rows], score[rows], similarity=encoder.similarity, alike=alike)
        return of, texts

    train, train_texts = part(np.flatnonzero(~held))
    judging = np.flatnonzero(split == test)
    if not len(judging):
        return CollectedPairs(train, train_texts, None, [], np.empty(0, bool))
    judged, texts = part(judging)
    return CollectedPairs(train, train_texts, judged, texts, judged.seen(train))
