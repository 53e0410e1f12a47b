"""The ladder of retrieval: closed form, adapters, shifts of single documents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedtune.data.splits import REPEATED
from embedtune.judging.folded import Candidate, Folded
from embedtune.tuners.auto import STRENGTHS, Tried
from embedtune.tuners.deltas import DeltasTuner
from embedtune.tuners.linear import LinearTuner
from embedtune.tuners.ridge import RidgeTuner

DELTA_STRENGTHS = (0.5, 0.75, 1.0, 1.25)
"""Strengths of shifts of documents."""


def ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield candidates from simple to complex, looking at what those before have reached.

    Adapters learn among the documents that have labels: for queries on unseen documents the others are
    not negatives. Where the same documents are asked for again, one that holds all others away joins
    them, and shifts of single documents climb on top of the one that serves unseen documents best.
    """
    yield Candidate("ridge", RidgeTuner(), STRENGTHS)
    yield Candidate("linear (queries)", LinearTuner(sides="query"), STRENGTHS)
    yield Candidate("linear (both)", LinearTuner(sides="both"), STRENGTHS, rung=2)
    if folded.problem.shares()["seen"] < REPEATED:
        return
    yield Candidate("linear (both, all)", LinearTuner(sides="both", against="all"), STRENGTHS, rung=2)
    below = _base_of_deltas(folded, tried)
    prefix = "" if below.candidate is None else f"{below.name} + "
    for kind, tuner in (("gentle", DeltasTuner()), ("firm", DeltasTuner(drop=0.0, rate=1.0))):
        yield Candidate(
            f"{prefix}deltas ({kind})",
            tuner,
            DELTA_STRENGTHS,
            rung=2,
            below=below.candidate,
            below_strength=below.strength,
        )


def _base_of_deltas(folded: Folded, tried: list[Tried]) -> Tried:
    """Give the adapter that serves unseen documents best: deltas do for the seen ones what it does not."""
    unseen = folded.strata["unseen"]
    if not unseen.any():
        unseen = np.ones(len(unseen), bool)
    return max((t for t in tried if t.name != "ridge"), key=lambda t: float(t.scores[unseen].mean()))
