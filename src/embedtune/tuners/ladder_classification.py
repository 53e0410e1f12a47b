"""What is tried for a classification, from the simplest map to the one that costs most."""

from __future__ import annotations

from collections.abc import Iterator

from embedtune.judging.folded import Candidate, Folded
from embedtune.tuners.auto import Tried
from embedtune.tuners.discriminant import DiscriminantTuner
from embedtune.tuners.neighbours import NeighboursTuner
from embedtune.tuners.prototypes import PrototypesTuner

STRENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""How far each map is followed from the identity; beyond 1 since each is trained cautiously."""


def ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield the candidates; all rewrite the stored vectors, which queries and documents share.

    The closed form takes well under a second and does most where classes are few and wide; prototypes
    do most where they are many and round, and neighbours where a class has several places.
    """
    yield Candidate("discriminant", DiscriminantTuner(), STRENGTHS, rung=2)
    yield Candidate("prototypes", PrototypesTuner(), STRENGTHS, rung=2)
    yield Candidate("neighbours", NeighboursTuner(), STRENGTHS, rung=2)
