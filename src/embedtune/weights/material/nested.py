"""Any task's steps, so that the leading dimensions of the vectors serve alone (Matryoshka)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from embedtune.judging.problem import Scores
from embedtune.transforms.blocks import unit_length
from embedtune.types import Vectors
from embedtune.weights.material.base import Material, Step
from embedtune.weights.texts import Rows, Texts

if TYPE_CHECKING:
    import torch


class Nested:
    """The steps of another material; their loss, and the score, are means over parts of the vectors.

    Parameters
    ----------
    material : Material
        Whose steps they are.
    widths : tuple of int
        Dimensions of each part.
    unit : bool
        Whether the similarity is cosine, so that each part is brought to unit length.
    """

    def __init__(self, material: Material, widths: tuple[int, ...], *, unit: bool) -> None:
        self.material, self.widths, self.unit = material, widths, unit
        self.texts: Texts = material.texts
        self.judged: Rows = material.judged

    def steps(self, turn: int) -> list[Callable[[], Step]]:
        """Give the steps of one pass."""
        return [lambda make=make: self._nested(make()) for make in self.material.steps(turn)]  # type: ignore[misc]

    def _nested(self, step: Step) -> Step:
        from embedtune.weights.losses import nested

        def loss(vectors: torch.Tensor) -> torch.Tensor:
            return nested(step.loss, vectors, self.widths, unit=self.unit)

        return Step(step.rows, loss)

    def score(self, vectors: Vectors) -> Scores:
        """Score each held-out row by the mean over the parts."""
        parts = (np.ascontiguousarray(vectors[:, :width]) for width in self.widths)
        found = [self.material.score(unit_length(part) if self.unit else part) for part in parts]
        return np.asarray(np.mean(found, axis=0))
