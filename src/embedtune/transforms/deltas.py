"""A shift for each known document; documents that are not known stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedtune.errors import VectorError
from embedtune.transforms.blocks import as_block, frozen, unit_length
from embedtune.transforms.identity import Identity
from embedtune.types import Vectors

BLOCK = 4096
"""Rows shifted at a time, so that no second copy of the documents is made."""


@dataclass(frozen=True, eq=False)
class ItemDeltas:
    """Add its delta to each known document, then unit length where ``normalise``.

    Queries and unknown documents come back bit for bit, so new documents always work.

    Parameters
    ----------
    ids : tuple of str
        The known documents, each once.
    deltas : float32 array of shape (len(ids), d)
        What is added to the document's vector.
    normalise : bool
        Whether shifted rows are brought to unit length (for cosine).

    Raises
    ------
    VectorError
        When there is not one finite delta for each id, or an id comes twice.
    """

    ids: tuple[str, ...]
    deltas: Vectors
    normalise: bool = True
    kind: ClassVar[str] = "item_deltas"

    def __post_init__(self) -> None:
        if self.deltas.ndim != 2 or len(self.deltas) != len(self.ids):
            raise VectorError(
                f"{len(self.ids)} ids need as many deltas, not an array of shape {self.deltas.shape}"
            )
        if not np.isfinite(self.deltas).all():
            raise VectorError("deltas must be finite")
        object.__setattr__(self, "ids", tuple(self.ids))
        object.__setattr__(self, "deltas", frozen(self.deltas))
        if len(self._rows) != len(self.ids):
            raise VectorError(f"{len(self.ids) - len(self._rows)} ids of deltas come more than once")

    @cached_property
    def _rows(self) -> dict[str, int]:
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def queries(self, x: Vectors) -> Vectors:
        """Give ``x`` itself."""
        return as_block(x)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Shift the rows of ``x``, (n, d), whose id is known; ``x`` itself where none is.

        Raises
        ------
        VectorError
            When ``ids`` does not name every row.
        """
        x = as_block(x, self.deltas.shape[1])
        if ids is None:
            return x
        if len(ids) != len(x):
            raise VectorError(
                f"{len(x)} document vectors came with {len(ids)} ids",
                fix="give one id for each row",
            )
        rows = self.places(ids)
        known = np.flatnonzero(rows >= 0)
        if not len(known):
            return x
        y = np.array(x)  # (n, d), the one copy
        for start in range(0, len(known), BLOCK):
            here = known[start : start + BLOCK]
            shifted = x[here] + self.deltas[rows[here]]
            y[here] = unit_length(shifted) if self.normalise else shifted
        return y

    def places(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Give the place of each id among the known ones, (n,); -1 where it is not known."""
        return np.fromiter(map(self._rows.get, ids, repeat(-1)), np.int64, len(ids))

    def scaled(self, strength: float) -> ItemDeltas | Identity:
        """Multiply every delta by ``strength``: 0 is the identity, 1 the transform itself."""
        if strength == 0:
            return Identity()
        if strength == 1:
            return self
        return ItemDeltas(self.ids, (self.deltas * strength).astype(np.float32), self.normalise)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the deltas, the ids as Arrow keeps strings (UTF-8 bytes and offsets), and ``normalise``."""
        encoded = [name.encode() for name in self.ids]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(name) for name in encoded], out=offsets[1:])
        letters = np.frombuffer(b"".join(encoded), np.uint8)
        tensors: dict[str, NDArray[Any]] = {
            "deltas": self.deltas,
            "ids.offsets": offsets,
            "ids.utf8": letters,
        }
        return tensors, {"normalise": self.normalise}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> ItemDeltas:
        """Rebuild what ``state`` gave."""
        offsets, letters = tensors["ids.offsets"], tensors["ids.utf8"]
        buffers = [
            None,
            pa.py_buffer(offsets.tobytes()),
            pa.py_buffer(letters.tobytes()),
        ]
        text = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
        text.validate(full=True)
        ids = tuple(str(name) for name in text.to_pylist())
        return cls(ids, tensors["deltas"], bool(settings["normalise"]))
