"""The candidates for scored pairs, from simple to complex."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedtune.judging.folded import Candidate, Folded
from embedtune.tuners.auto import Tried
from embedtune.tuners.pair_linear import PairLinearTuner
from embedtune.tuners.pair_metric import PairMetricTuner

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25)
"""How far each map is followed from the identity; the identity itself is the first candidate."""

FEW = 200
"""Pairs from which on the firm fit is tried: fewer are learnt by heart."""


def ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield candidates; every one maps both sides with one matrix.

    The first is a closed form on the similarity before it is brought to unit length; the others
    descend on the cosine itself, gently and firmly.
    """
    tuners: list[tuple[str, Any]] = [
        ("pair-metric", PairMetricTuner()),
        ("pair-linear (gentle)", PairLinearTuner(rate=3.0, scale=5.0)),
        ("pair-linear (firm)", PairLinearTuner(rate=6.0, scale=9.0)),
    ]
    for name, tuner in tuners[: 3 if len(folded.problem) >= FEW else 2]:
        yield Candidate(name, tuner, STRENGTHS, rung=2)
