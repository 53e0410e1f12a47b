"""Data and base to labels with vectors, within the time: a teacher, the first encoding, the probes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedtune.collect import Collected, collect, training_splits
from embedtune.collect.of_documents import with_of_documents
from embedtune.collect.probes import probes_of
from embedtune.data.dataset import Dataset
from embedtune.encoders.pace import Unfinished, within
from embedtune.judging.retention import ProbeSet
from embedtune.judging.verdict import FEWEST
from embedtune.steps.decision import Clock
from embedtune.teachers import Teacher
from embedtune.teachers.teach import Untaught, teach
from embedtune.training.budget import Budget
from embedtune.types import Encoder

OTHERWISE = "nothing can be tuned in this run"
"""What is told while encoding, once it is clear that the time does not suffice."""


@dataclass(frozen=True)
class Prepared:
    """What tuning begins with."""

    dataset: Dataset
    """The data, with a teacher's labels."""
    found: Collected
    probes: ProbeSet | None
    """None where labels are too few, where the base is not asked, or where the time ended before."""
    untaught: str | None = None
    """Why a teacher's labels were left out."""


def prepare(
    dataset: Dataset,
    encoder: Encoder,
    *,
    test: str,
    seed: int,
    budget: Budget,
    clock: Clock,
    teacher: Teacher | None = None,
    queries: Sequence[str] | str | Path = (),
    scores_serve: bool = False,
    keeping: bool = False,
    climbing: bool = True,
) -> Prepared:
    """Ask the teacher, encode, and divide the labels.

    Parameters
    ----------
    dataset, encoder, test, seed, teacher, queries
        Those of :func:`embedtune.fine_tune`.
    budget : Budget
        When to stop, and whom to tell.
    clock : Clock
        Told when each is done.
    scores_serve : bool
        Whether a teacher's scores of labelled queries are of use by themselves.
    keeping : bool
        Whether a share of the probes' neighbours has to be kept, so that nothing can be tuned without them.
    climbing : bool
        Whether a ladder is climbed, which tries titles, and the rest of long documents, too.

    Raises
    ------
    Unfinished
        When the time ends before there are vectors.
    """
    progress, untaught = budget.progress, None
    if teacher is not None:
        try:
            with _time_of(budget):
                dataset = teach(
                    dataset,
                    teacher,
                    encoder=encoder,
                    training=training_splits(dataset, test),
                    queries=queries,
                    scores_serve=scores_serve,
                    progress=progress,
                    budget=budget,
                )
        except Untaught as late:
            untaught = str(late)
        clock.stop("teach")
    with _time_of(budget):
        found, probes = collect(dataset, encoder, test=test, progress=progress), None
        if climbing:
            found = with_of_documents(found, dataset, encoder, budget)
        if found.labels >= FEWEST:
            with contextlib.suppress(*() if keeping else (Unfinished,)):
                probes = probes_of(dataset, encoder, seed=seed, needed=keeping, progress=progress)
    return Prepared(dataset, found, probes, untaught)


def _time_of(budget: Budget) -> contextlib.AbstractContextManager[None]:
    return within(budget.deadline, OTHERWISE)
