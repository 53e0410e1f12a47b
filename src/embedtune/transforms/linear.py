"""Linear maps without a bias: for queries, for documents, separate for both, or one shared by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import UserError, VectorError
from embedtune.transforms.blocks import as_block, frozen, unit_length
from embedtune.transforms.identity import Identity
from embedtune.types import Vectors

Sides = Literal["query", "document", "both", "shared"]


@dataclass(frozen=True, eq=False)
class Linear:
    """y = x Wᵀ, then unit length where ``normalise``; one matrix a side.

    Parameters
    ----------
    query, document : float32 array of shape (d_out, d), or None
        The side's matrix W; None leaves that side untouched, bit for bit. At least one is
        given. The same array (or equal ones) on both sides makes the map ``"shared"``.
    normalise : bool
        Whether mapped rows are brought to unit length (for cosine); rows that map to zero
        stay zero.

    Raises
    ------
    VectorError
        When a matrix is not finite or not two-dimensional, or the sides would not agree in width.
    """

    query: Vectors | None = None
    document: Vectors | None = None
    normalise: bool = True
    sides: Sides = field(init=False)
    """What is mapped: ``"query"``, ``"document"``, ``"both"`` (two matrices) or ``"shared"`` (one)."""
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        given = [w for w in (self.query, self.document) if w is not None]
        if not given:
            raise UserError(
                "a linear map needs a matrix",
                fix="give query=, document= or both, or use Identity()",
            )
        for w in given:
            if w.ndim != 2 or not np.isfinite(w).all():
                raise VectorError(f"a matrix of shape {w.shape} is not finite and two-dimensional")
        shapes = {w.shape for w in given} if len(given) == 2 else {given[0].shape, given[0].shape[::-1]}
        if len(shapes) > 1:
            raise VectorError(
                f"queries and documents would differ in width: matrices {sorted(shapes)}",
                fix="map both sides to the same number of dimensions",
            )
        shared = len(given) == 2 and (given[0] is given[1] or np.array_equal(given[0], given[1]))
        query = None if self.query is None else frozen(self.query)
        document = None if self.document is None else query if shared else frozen(self.document)
        sides: Sides = (
            "shared" if shared else "both" if len(given) == 2 else "document" if query is None else "query"
        )
        for name, value in (("query", query), ("document", document), ("sides", sides)):
            object.__setattr__(self, name, value)

    @classmethod
    def shared(cls, matrix: Vectors, *, normalise: bool = True) -> Linear:
        """Build the map with one ``matrix``, float32 (d_out, d), for both sides."""
        return cls(matrix, matrix, normalise)

    def queries(self, x: Vectors) -> Vectors:
        """Map queries (n, d) to (n, d_out)."""
        return self._apply(self.query, x)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Map documents (n, d) to (n, d_out); ``ids`` play no part."""
        return self._apply(self.document, x)

    def _apply(self, matrix: Vectors | None, x: Vectors) -> Vectors:
        if matrix is None:
            return as_block(x)
        y = np.asarray(as_block(x, matrix.shape[1])) @ matrix.T  # (n, d_out)
        return unit_length(y) if self.normalise else y

    def scaled(self, strength: float) -> Linear | Identity:
        """Give I + strength (W - I) on each mapped side: 0 is the identity, 1 the map itself.

        Raises
        ------
        UserError
            When a matrix is not square, for there is no identity to scale towards.
        """
        if strength == 1:
            return self
        matrix = self.query if self.query is not None else self.document
        if matrix is None or matrix.shape[0] != matrix.shape[1]:
            raise UserError(
                "only a square map can be scaled towards the identity",
                fix="keep strength at 1",
            )
        if strength == 0:
            return Identity()
        if self.sides == "shared":
            return Linear.shared(_towards_identity(matrix, strength), normalise=self.normalise)
        query, document = (
            None if w is None else _towards_identity(w, strength) for w in (self.query, self.document)
        )
        return Linear(query, document, self.normalise)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give one tensor a matrix (``shared``, or ``query`` and ``document``) and ``normalise``."""
        if self.sides == "shared" and self.query is not None:
            tensors = {"shared": self.query}
        else:
            named = {"query": self.query, "document": self.document}
            tensors = {name: w for name, w in named.items() if w is not None}
        return dict(tensors), {"normalise": self.normalise, "sides": self.sides}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Linear:
        """Rebuild what ``state`` gave."""
        shared = tensors.get("shared")
        normalise = bool(settings["normalise"])
        return cls(tensors.get("query", shared), tensors.get("document", shared), normalise)


def _towards_identity(matrix: Vectors, strength: float) -> Vectors:
    eye = np.eye(len(matrix))
    return (eye + strength * (matrix - eye)).astype(np.float32)
