"""Dataset and encoder to a problem: which labels train, which judge, with what vectors; one file a task."""

from __future__ import annotations

from collections.abc import Callable

from embedtune.collect import classification, recommendation, retrieval, similarity
from embedtune.collect.collected import Collected
from embedtune.collect.encode import Progress
from embedtune.data.dataset import Dataset, Task
from embedtune.errors import DataError
from embedtune.types import Encoder

HELD_OUT = "test"
"""The split that is never trained on, whichever judges."""

Collect = Callable[[Dataset, Encoder, list[str], list[str], Progress | None], Collected]

COLLECTS: dict[Task, Collect] = {
    "retrieval": retrieval.collect,
    "classification": classification.collect,
    "similarity": similarity.collect,
    "recommendation": recommendation.collect,
}

__all__ = ["COLLECTS", "HELD_OUT", "Collected", "Progress", "collect", "training_splits"]


def training_splits(dataset: Dataset, test: str) -> list[str]:
    """Give the splits that train where ``test`` judges; the held-out one only where that is ``"none"``."""
    return [name for name in dataset.splits if test == "none" or name not in (test, HELD_OUT)]


def collect(dataset: Dataset, encoder: Encoder, *, test: str, progress: Progress | None = None) -> Collected:
    """Encode a dataset and divide its labels.

    Parameters
    ----------
    dataset : Dataset
        Of any task.
    encoder : Encoder
        The base.
    test : str
        The split that judges; ``"none"`` trains on every split. A missing ``"test"`` is no
        mistake: the verdict is then given out of fold.
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
    training = training_splits(dataset, test)
    judging = [test] if test in splits else []
    if not training:
        raise DataError(
            f"all judgements are in the split {splits[0] if splits else test!r}; none are left to train on",
            where=dataset.source,
            fix="add a train split, or train on all and judge out of fold with test='none' (--test none)",
        )
    return COLLECTS[dataset.task](dataset, encoder, training, judging, progress)
