"""Shifts of long documents to all that they say, and how to move those that come later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import VectorError
from embedtune.transforms.blocks import unit_length
from embedtune.transforms.chain import parts_of
from embedtune.transforms.deltas import ItemDeltas
from embedtune.transforms.identity import Identity
from embedtune.types import Transform, Vectors


@dataclass(frozen=True, eq=False)
class ReadOnDeltas(ItemDeltas):
    """Add to each known document what a model does not read of it, as a shift.

    Shifts serve stored vectors, without texts. Where there are texts, documents that are not known are moved
    by :meth:`moved`: beside documents that say all of themselves, one of which the end is missing would be
    found less often than under the base.

    Parameters
    ----------
    ids, deltas, normalise
        Those of :class:`ItemDeltas`.
    weight : float
        Where ``normalise``, what the mean of the later windows' vectors counts beside that of the first
        window; else how far, from 0 to 1, the first window's vector moves to that mean.

    Raises
    ------
    VectorError
        As for :class:`ItemDeltas`, and when ``weight`` is not finite.
    """

    weight: float = 0.0
    kind: ClassVar[str] = "read_on"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.isfinite(self.weight):
            raise VectorError("the weight of what is read on must be finite")

    @classmethod
    def of(
        cls, ids: Sequence[str], first: Vectors, later: Vectors, *, share: float, normalise: bool
    ) -> ReadOnDeltas:
        """Give the shifts that bring documents to the weighted mean of their windows.

        Parameters
        ----------
        ids : sequence of str
            The documents, (n,).
        first, later : float32 arrays of shape (n, d)
            Vectors of their first windows, and the means of those of the later ones.
        share : float
            Weight of the later windows together, in units of that of the first.
        normalise : bool
            Whether vectors have unit length (for cosine).
        """
        weight = share if normalise else share / (1 + share)
        return cls(tuple(ids), _shift(first, later, weight, normalise), normalise, weight)

    def moved(self, first: Vectors, later: Vectors) -> Vectors:
        """Move documents (n, d), as the base reads them, by the means (n, d) of their later windows."""
        moved = first + _shift(first, later, self.weight, self.normalise)
        return unit_length(moved) if self.normalise else moved

    def scaled(self, strength: float) -> ReadOnDeltas | Identity:
        """Multiply every delta, and the weight, by ``strength``."""
        if strength == 0:
            return Identity()
        if strength == 1:
            return self
        deltas = (self.deltas * strength).astype(np.float32)
        return replace(self, deltas=deltas, weight=self.weight * strength)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give what :class:`ItemDeltas` gives, and the weight."""
        tensors, settings = super().state()
        return tensors, {**settings, "weight": self.weight}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> ReadOnDeltas:
        """Rebuild what ``state`` gave."""
        shifts = ItemDeltas.from_state(tensors, settings)
        return cls(shifts.ids, shifts.deltas, shifts.normalise, float(settings["weight"]))


def _shift(first: Vectors, later: Vectors, weight: float, normalise: bool) -> Vectors:
    return np.asarray(weight * (later if normalise else later - first), np.float32)


def reading_on(transform: Transform) -> ReadOnDeltas | None:
    """Give the part of a map that reads documents on, which comes first; None where there is none."""
    first = next(iter(parts_of(transform)), None)
    return first if isinstance(first, ReadOnDeltas) else None
