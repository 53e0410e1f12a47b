"""The ladder of recommendation: pooling alone, EASE in factors, and factors fitted to what comes next."""

from __future__ import annotations

from collections.abc import Iterator

from embedtune.judging.folded import Candidate, Folded
from embedtune.tuners.auto import Tried
from embedtune.tuners.factors import FactorsTuner, PoolingTuner
from embedtune.tuners.interactions import Interactions


def ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield candidates from simple to complex.

    All but the first replace the stored vectors; none is followed at several strengths, as factors and
    content do not lie in one space. Without times there is nothing that comes next.
    """
    yield Candidate("pooling", PoolingTuner())
    yield Candidate("factors (EASE)", FactorsTuner(following=0.0), rung=2)
    train: Interactions = folded.problem.training(folded.problem.everything)
    if train.time is not None:
        yield Candidate("factors (next)", FactorsTuner(), rung=2)
