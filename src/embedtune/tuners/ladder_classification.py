"""What is tried for a classification, from the simplest map to the one that costs most."""

from __future__ import annotations

from collections.abc import Iterator

from embedtune.judging.classified import Classified
from embedtune.judging.folded import Candidate, Folded
from embedtune.tuners.auto import Tried
from embedtune.tuners.discriminant import DiscriminantTuner
from embedtune.tuners.neighbours import NeighboursTuner
from embedtune.tuners.prototypes import PrototypesTuner

STRENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""How far each map is followed from the identity; beyond 1 since each is trained cautiously."""


FIRM, FREE = ("discriminant (firm)", 0.8), ("discriminant (free)", 0.1)
"""Shrinkage with few items for the dimensions, and with many."""


def ladder(folded: Folded, tried: list[Tried]) -> Iterator[Candidate]:
    """Yield the candidates; all rewrite the stored vectors, which queries and documents share.

    The closed form takes well under a second and does most where classes are few and wide; prototypes
    do most where they are many and round, and neighbours where a class has several places. With fewer
    items than twice the dimensions the spread within classes is poorly known, and the closed form is
    held firmly to the sphere; with more it is let go. Where it does more than neighbours do on the
    base, as with vectors whose strongest directions say nothing of the classes, neighbours start again
    from what it gives.
    """
    problem = folded.problem
    width = problem.items.vectors.shape[1] if isinstance(problem, Classified) else len(problem)
    yield Candidate("discriminant", DiscriminantTuner(), STRENGTHS, rung=2)
    name, shrinkage = FIRM if len(problem) < 2 * width else FREE
    yield Candidate(name, DiscriminantTuner(shrinkage=shrinkage), STRENGTHS, rung=2)
    yield Candidate("prototypes", PrototypesTuner(), STRENGTHS, rung=2)
    yield Candidate("neighbours", NeighboursTuner(), STRENGTHS, rung=2)
    closed, near = (_best(tried, start) for start in ("discriminant", "neighbours"))
    if closed is None or near is None or closed.mean <= near.mean:
        return
    yield Candidate(
        f"neighbours on {closed.name}", NeighboursTuner(), STRENGTHS[:-1], rung=2,
        below=closed.candidate, below_strength=closed.strength,
    )  # fmt: skip


def _best(tried: list[Tried], start: str) -> Tried | None:
    return max((one for one in tried if one.name.startswith(start)), key=lambda one: one.mean, default=None)
