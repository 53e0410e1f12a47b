"""The ladder of recommendation: pooling alone, factors fitted to what comes next, and EASE in factors."""

from __future__ import annotations

from collections.abc import Iterator

from embedtune.judging.folded import Candidate, Folded
from embedtune.training.interactions import Interactions
from embedtune.tuners.auto import Tried
from embedtune.tuners.factors import FactorsTuner, PoolingTuner


def ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield candidates; where time may end before the last, first what serves most.

    Factors that are fitted to what comes next have those of EASE as one half. All but pooling replace the
    stored vectors; none is followed at several strengths, as factors and content do not lie in one space.
    Without times there is nothing that comes next.
    """
    yield Candidate("pooling", PoolingTuner())
    train: Interactions = folded.problem.training(folded.problem.everything)
    if train.time is not None:
        yield Candidate("factors (next)", FactorsTuner(), rung=2)
    yield Candidate("factors (EASE)", FactorsTuner(following=0.0), rung=2)
