"""How many labels a dataset has to learn from, and which metric decides, before anything is encoded."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from embedtune.collect import recommendation, retrieval, similarity
from embedtune.collect.retrieval import MADE, only_in
from embedtune.data.dataset import Dataset, cells
from embedtune.judging.classified import MULTI, SINGLE


def count_labels(dataset: Dataset, training: list[str]) -> int:
    """Give the number of labels, as :class:`~embedtune.collect.collected.Collected` counts them.

    Parameters
    ----------
    dataset : Dataset
        Of any task.
    training : list of str
        The splits that train.
    """
    if dataset.task == "retrieval":
        rows = dataset.query_rows(training)
        made = only_in(dataset, MADE, training, rows)
        return len(rows) if made is None or made.all() else int((~made).sum())
    if dataset.task == "recommendation":
        table = dataset.interactions
        return len(table.filter(pc.is_in(table["split"], pa.array(training, pa.string())))["user"].unique())
    table = dataset.documents if dataset.task == "classification" else dataset.pairs
    return sum(split in training for split in cells(table, "split"))


def first_metric(dataset: Dataset) -> str:
    """Give the metric that decides unless another is asked for."""
    if dataset.task == "classification":
        return (SINGLE if all(len(one) == 1 for one in dataset.labels) else MULTI)[0]
    first: dict[str, tuple[str, ...]] = {
        "retrieval": retrieval.METRICS,
        "similarity": similarity.METRICS,
        "recommendation": recommendation.METRICS,
    }
    return first[dataset.task][0]
