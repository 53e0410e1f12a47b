"""Residual adapters of low rank: fewer degrees of freedom, for few labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embedtune.tuners.linear import LinearTuner


@dataclass(frozen=True, kw_only=True)
class LowRankTuner(LinearTuner):
    """W = I + UV with U (d, rank) and V (rank, d): :class:`LinearTuner` held to a low rank.

    The residual is projected to the nearest matrix of that rank after every pass, so the transform
    is an ordinary linear map of full size, which every consumer can read.

    References
    ----------
    Singular value projection: Jain, Meka and Dhillon 2010 (arXiv:0909.5457, algorithm 1).
    """

    name: ClassVar[str] = "low-rank"

    rank: int | None = 32
    """Rank of the residual."""
