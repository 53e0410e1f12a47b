"""What a run gives whose time ended before the texts had vectors: the base, and how to go on."""

from __future__ import annotations

import numpy as np

from embedtune.collect import training_splits
from embedtune.collect.counting import count_labels, first_metric
from embedtune.collect.encode import by_id
from embedtune.data.dataset import Dataset
from embedtune.data.pairs import made_labels
from embedtune.duration import duration
from embedtune.encoders.pace import Pace
from embedtune.encoders.tokens import reading_lengths
from embedtune.judging.comparison import Side
from embedtune.judging.verdict import Verdict
from embedtune.steps.decision import TOO_FEW, Clock, in_words
from embedtune.training.budget import Budget
from embedtune.types import Encoder, Kind

KINDS: tuple[Kind, Kind] = ("document", "query")


def without_vectors(
    dataset: Dataset,
    encoder: Encoder,
    pace: Pace,
    *,
    test: str,
    metric: str | None,
    budget: Budget,
    clock: Clock,
) -> Verdict:
    """Give the verdict that keeps the base: nothing was compared, so nothing is known of labels or gain.

    Parameters
    ----------
    dataset : Dataset
        The data.
    encoder : Encoder
        The base.
    pace : Pace
        What was encoded in the time that there was.
    test, metric
        Those of :func:`embedtune.fine_tune`.
    budget, clock
        The time that was given, and what it was spent on.
    """
    for stage in ("encode", "tune", "judge"):
        clock.stop(stage)
    nobody = Side(None, None, None, 0, 0, 0)
    return Verdict(
        dataset.task,
        metric or first_metric(dataset),
        nobody,
        nobody,
        0.0,
        (0.0, 0.0),
        1.0,
        judged_on="test" if test in dataset.splits else "out of fold",
        decision=TOO_FEW,
        reasons=[why(dataset, encoder, pace, in_words(budget, clock))],
        labels=count_labels(dataset, training_splits(dataset, test)),
        made=made_labels(dataset),
        moved={"neighbours_changed": 0.0},
        seconds=clock.seconds,
        stopped=True,
    )


def why(dataset: Dataset, encoder: Encoder, pace: Pace, budget: str) -> str:
    """Say how many texts have vectors, how long the others take, and what to do."""
    total, weight = 0, 0.0
    for kind in KINDS:
        if not by_id(encoder, kind):
            texts = list(dict.fromkeys(dataset.items(kind)))
            total += len(texts)
            weight += float(np.sum(reading_lengths(texts, encoder.max_tokens)))
    total = max(total, pace.total)
    said = (
        f"{pace.done:,} of {total:,} texts were encoded within the budget of {budget}, "
        "so nothing was tried and the base is kept"
    )
    rest = pace.rest(pace.missing + max(weight - pace.weight, 0.0))
    takes = "" if rest is None else f"the rest takes about {duration(max(rest, 1.0))}, "
    return f"{said}; {takes}{go_on(pace)}"


def go_on(pace: Pace) -> str:
    """Say what to do where a time for encoding did not suffice."""
    if not pace.encoded:
        return "and the time ended before any was begun: give more"
    if not pace.kept:
        return "and nothing is kept of it, as there is no cache: give more time"
    return "and another run goes on where this one stopped"
