"""A linear map followed at several strengths: rows are mapped once, and mixed with what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np

from embedtune.transforms import Linear
from embedtune.transforms.blocks import unit_length
from embedtune.types import Transform, Vectors

REMEMBERED = 2
"""Sets of rows whose images are kept: those that are judged, and those that vote."""


@dataclass
class Strengths:
    """The maps ``I + strength (W - I)`` after ``below``, which share what is costly: ``x Wᵀ``.

    By linearity ``x (I + s (W - I))ᵀ = x + s (x Wᵀ - x)``, so only the first strength costs a product with
    the matrix. Equal rows are known again by their content, at the cost of reading them.

    Parameters
    ----------
    below : Transform
        What comes first.
    fitted : Linear
        With one matrix for both sides, square.
    """

    below: Transform
    fitted: Linear
    _known: list[tuple[Vectors, Vectors, Vectors]] = field(default_factory=list, repr=False)

    def at(self, strength: float) -> Transform:
        """Give the whole chain at a strength; equal to that of ``scaled`` up to rounding."""
        return self.below if strength == 0 else cast("Transform", At(self, strength))

    def images(self, x: Vectors) -> tuple[Vectors, Vectors]:
        """Give rows (n, d) after ``below``, and after W too, (n, d) each; not brought to unit length."""
        for rows, moved, mapped in self._known:
            if rows is x or (rows.shape == x.shape and np.array_equal(rows, x)):
                return moved, mapped
        moved = np.asarray(self.below.documents(x), np.float32)
        matrix = self.fitted.document
        assert matrix is not None
        mapped = np.asarray(moved @ matrix.T, np.float32)
        self._known = [*self._known, (x, moved, mapped)][-REMEMBERED:]
        return moved, mapped


@dataclass(frozen=True)
class At:
    """The chain of :class:`Strengths` at one of them, for judging alone: never scaled again, nor written."""

    strengths: Strengths
    strength: float
    kind: ClassVar[str] = "at"

    def queries(self, x: Vectors) -> Vectors:
        """Map queries (n, d), as documents."""
        return self.documents(x)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Map rows (n, d); unit length where the fitted map brings them to it."""
        moved, mapped = self.strengths.images(np.asarray(x, np.float32))
        y = mapped - moved
        y *= np.float32(self.strength)
        y += moved
        return unit_length(y) if self.strengths.fitted.normalise else y


def shared(fitted: Any) -> bool:
    """Whether a fitted map is of the kind that :class:`Strengths` follows.

    Examples
    --------
    >>> shared(Linear.shared(np.eye(2, dtype=np.float32))), shared(Linear(np.eye(2, dtype=np.float32)))
    (True, False)
    """
    return isinstance(fitted, Linear) and fitted.sides == "shared" and fitted.document is not None
