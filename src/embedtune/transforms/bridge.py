"""From one model's vectors to another's: an affine map, with a hidden layer where that helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError, VectorError
from embedtune.transforms.blocks import as_block, frozen, unit_length
from embedtune.transforms.identity import Identity
from embedtune.types import Vectors

BLOCK = 16384
"""Rows mapped at a time, where there is a hidden layer."""


@dataclass(frozen=True, eq=False)
class Bridge:
    """y = W x + b + U relu(V x + c), then unit length where ``normalise``; queries stay as they are.

    Documents are stored vectors of the *old* model, (n, d); what comes out lies in the space of the
    *new* one, (n, d'), in which queries are encoded.

    Parameters
    ----------
    matrix : float32 array of shape (d', d)
    bias : float32 array of shape (d',)
    into, hidden, out : float32 arrays of shape (h, d), (h,) and (d', h), optional
        V, c and U of the hidden layer; all or none.
    normalise : bool
        Whether what comes out is brought to unit length (for cosine).

    Raises
    ------
    VectorError
        When the parts do not fit together, or are not finite.
    """

    matrix: Vectors
    bias: Vectors
    into: Vectors | None = None
    hidden: Vectors | None = None
    out: Vectors | None = None
    normalise: bool = True
    kind: ClassVar[str] = "bridge"

    def __post_init__(self) -> None:
        layer = [x for x in (self.into, self.hidden, self.out) if x is not None]
        fits = self.matrix.ndim == 2 and self.bias.shape == self.matrix.shape[:1] and len(layer) in (0, 3)
        if fits and self.into is not None and self.hidden is not None and self.out is not None:
            h = len(self.hidden)
            fits = self.into.shape == (h, self.matrix.shape[1]) and self.out.shape == (len(self.matrix), h)
        if not fits:
            shapes = [x.shape for x in (self.matrix, self.bias, *layer)]
            raise VectorError(f"the parts of the bridge do not fit together: {shapes}")
        if not all(np.isfinite(x).all() for x in (self.matrix, self.bias, *layer)):
            raise VectorError("the numbers of a bridge must be finite")
        for name in ("matrix", "bias", "into", "hidden", "out"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else frozen(value))

    def queries(self, x: Vectors) -> Vectors:
        """Give ``x`` itself: queries come from the new model."""
        return as_block(x)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Map stored vectors (n, d) to (n, d'); ``ids`` play no part."""
        x = as_block(x, self.matrix.shape[1])
        y = np.asarray(x @ self.matrix.T + self.bias, np.float32)
        if self.into is not None and self.out is not None and self.hidden is not None:
            for start in range(0, len(x), BLOCK):
                rows = slice(start, start + BLOCK)
                y[rows] += np.maximum(x[rows] @ self.into.T + self.hidden, 0) @ self.out.T
        return unit_length(y) if self.normalise else y

    def scaled(self, strength: float) -> Bridge | Identity:
        """Give the map itself at strength 1 and, between models of one width, the identity at 0.

        Raises
        ------
        UserError
            At any other, for between two models' spaces there is nothing half-way.
        """
        if strength == 1:
            return self
        if strength == 0 and self.matrix.shape[0] == self.matrix.shape[1]:
            return Identity()
        raise UserError("a bridge between two models cannot be scaled", fix="keep strength at 1")

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the parts, and ``normalise``."""
        parts = {name: getattr(self, name) for name in ("matrix", "bias", "into", "hidden", "out")}
        return {name: x for name, x in parts.items() if x is not None}, {"normalise": self.normalise}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Bridge:
        """Rebuild what ``state`` gave."""
        return cls(
            tensors["matrix"],
            tensors["bias"],
            tensors.get("into"),
            tensors.get("hidden"),
            tensors.get("out"),
            normalise=bool(settings["normalise"]),
        )
