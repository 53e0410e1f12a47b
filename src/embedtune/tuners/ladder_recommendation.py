"""The ladder of recommendation: pooling alone, EASE in factors, and factors fitted to what comes next."""

from __future__ import annotations

from collections.abc import Iterator

from embedtune.judging.folded import Candidate
from embedtune.tuners.factors import FactorsTuner, PoolingTuner
from embedtune.tuners.interactions import Interactions


def recommendation_ladder(train: Interactions) -> Iterator[Candidate]:
    """Yield candidates from simple to complex.

    All but the first replace the stored vectors; none is followed at several strengths, as factors and
    content do not lie in one space. Without times there is nothing that comes next.
    """
    yield Candidate("pooling", PoolingTuner())
    yield Candidate("factors (EASE)", FactorsTuner(following=0.0), rung=2)
    if train.time is not None:
        yield Candidate("factors (next)", FactorsTuner(), rung=3)
