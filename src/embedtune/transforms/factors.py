"""Two vectors for each known item, one for histories, one to be found; content gives those of new items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedtune.errors import UserError, VectorError
from embedtune.mapped import release
from embedtune.transforms.blocks import as_block, frozen, unit_length
from embedtune.transforms.identity import Identity
from embedtune.transforms.pooling import Pooling
from embedtune.types import Halves, Vectors

BLOCK = 2048
"""Rows mapped at a time."""


@dataclass(frozen=True, eq=False)
class ItemFactors:
    """Replace items' vectors by factors of a score: history (sum of ``u``) times item (``v``).

    A known item has a row of each table; a new one, and a text typed in, gets both by a linear map of
    its content. What comes out has unit length, so that cosine and inner product rank alike: documents
    carry their length in one more dimension, in which queries are zero.

    Parameters
    ----------
    ids : tuple of str
        The known items, each once.
    history, found : float32 or float16 arrays of shape (len(ids), r)
        ``u`` and ``v`` of each known item; they stay in half precision where they come in it.
    content_history, content_found : float32 arrays of shape (r, d)
        The maps from content to ``u`` and ``v``.
    width : int
        Dimensions of what comes out, at least r + 1; the rest is zero.
    pooling : Pooling
        How histories are pooled.
    longest : float, optional
        Length of the longest ``v``; longer ones are cut to it.
    strength : float
        1 for the map itself; lower mixes in the vector as it was, where ``width`` is d.

    Raises
    ------
    VectorError
        When the tables do not belong together, or are not finite.

    References
    ----------
    Bachrach et al. 2014, Speeding Up the Xbox Recommender System, section 3: the dimension that turns
    inner products into cosines.
    """

    ids: tuple[str, ...]
    history: Vectors | Halves
    found: Vectors | Halves
    content_history: Vectors
    content_found: Vectors
    width: int
    pooling: Pooling = field(default_factory=Pooling)
    longest: float | None = None
    strength: float = 1.0
    kind: ClassVar[str] = "item_factors"

    def __post_init__(self) -> None:
        tables, maps = (self.history, self.found), (self.content_history, self.content_found)
        rank = self.history.shape[-1]
        shapes = {table.shape for table in tables} | {(len(self.ids), rank)}
        if len(shapes) > 1 or maps[0].shape != maps[1].shape or maps[0].shape[0] != rank:
            raise VectorError(
                f"factors {[x.shape for x in (*tables, *maps)]} of {len(self.ids)} items do not fit together"
            )
        lengths = [_longest(table) for table in (*tables, *maps)]
        if not np.isfinite(lengths).all():
            raise VectorError("factors must be finite")
        if self.width <= rank:
            raise VectorError(f"{rank} factors need {rank + 1} dimensions, not {self.width}")
        if len(set(self.ids)) != len(self.ids):
            raise VectorError("an item has two rows of factors")
        object.__setattr__(
            self, "longest", float(lengths[1] or 1.0 if self.longest is None else self.longest)
        )
        object.__setattr__(self, "ids", tuple(self.ids))
        for name in ("history", "found", "content_history", "content_found"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    @cached_property
    def _rows(self) -> dict[str, int]:
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def queries(self, x: Vectors) -> Vectors:
        """Map the content of queries, (n, d), to (n, width): as a history of one new item."""
        return self.histories(x)

    def histories(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Give what items (n, d) add to a history's sum, (n, width); lengths are weights."""
        x = as_block(x, self.content_history.shape[1])
        y = np.zeros((len(x), self.width), np.float32)
        rank = self.history.shape[1]
        for rows, factors in self._factors(x, ids, self.history, self.content_history):
            y[rows, :rank] = factors
        return self._mixed(x, y)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Give the vectors under which items (n, d) are found, (n, width), of unit length."""
        x = as_block(x, self.content_found.shape[1])
        y = np.zeros((len(x), self.width), np.float32)
        rank = self.found.shape[1]
        for rows, factors in self._factors(x, ids, self.found, self.content_found):
            v = factors / np.float32(self.longest or 1.0)
            square = np.einsum("ij,ij->i", v, v)
            v /= np.sqrt(np.maximum(square, 1))[:, None]
            y[rows, :rank] = v
            y[rows, rank] = np.sqrt(np.maximum(1 - square, 0))
        return self._mixed(x, unit_length(y))

    def _factors(
        self, x: Vectors, ids: Sequence[str] | None, table: Vectors | Halves, content: Vectors
    ) -> Iterator[tuple[slice, Vectors]]:
        if ids is not None and len(ids) != len(x):
            raise VectorError(f"{len(x)} vectors came with {len(ids)} ids", fix="give one id for each row")
        rows = np.full(len(x), -1, np.int64)
        if ids is not None:
            rows = np.fromiter(map(self._rows.get, ids, repeat(-1)), np.int64, len(ids))
        for block in _blocks(x):
            yield block, _looked_up(x, rows, block, table, content)
            release(table)

    def _mixed(self, x: Vectors, y: Vectors) -> Vectors:
        return (
            y if self.strength == 1 else unit_length((1 - self.strength) * x + np.float32(self.strength) * y)
        )

    def scaled(self, strength: float) -> ItemFactors | Identity:
        """Mix with the vectors as they were: 0 is the identity, 1 the map itself.

        Raises
        ------
        UserError
            When what comes out has another width, for it cannot be mixed then.
        """
        if strength == 0:
            return Identity()
        if strength == 1:
            return self
        if self.width != self.content_found.shape[1]:
            raise UserError("only a map that keeps the width can be mixed", fix="keep strength at 1")
        return replace(self, strength=float(strength) * self.strength)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the tables, the maps, the ids as Arrow keeps strings, and the settings."""
        letters = [name.encode() for name in self.ids]
        offsets = np.zeros(len(letters) + 1, np.int64)
        np.cumsum([len(name) for name in letters], out=offsets[1:])
        tensors: dict[str, NDArray[Any]] = {
            "history": self.history,
            "found": self.found,
            "content_history": self.content_history,
            "content_found": self.content_found,
            "ids.offsets": offsets,
            "ids.utf8": np.frombuffer(b"".join(letters), np.uint8),
        }
        settings = {
            "width": self.width,
            "longest": self.longest,
            "strength": self.strength,
            "pooling": self.pooling.to_dict(),
        }
        return tensors, settings

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> ItemFactors:
        """Rebuild what ``state`` gave."""
        offsets = tensors["ids.offsets"]
        buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(tensors["ids.utf8"].tobytes())]
        text = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
        text.validate(full=True)
        return cls(
            tuple(str(name) for name in text.to_pylist()),
            tensors["history"],
            tensors["found"],
            tensors["content_history"],
            tensors["content_found"],
            width=int(settings["width"]),
            pooling=Pooling(**settings["pooling"]),
            longest=float(settings["longest"]),
            strength=float(settings["strength"]),
        )


def _blocks(x: Vectors | Halves) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, len(x), BLOCK)]


def _longest(x: Vectors | Halves) -> float:
    """Give the length of the longest row; NaN or infinity where a number is."""
    squares = [0.0]
    for rows in _blocks(x):
        block = x[rows].astype(np.float32)
        squares.append(float(np.einsum("ij,ij->i", block, block, dtype=np.float64).max(initial=0)))
        release(x)
    return float(np.sqrt(np.max(squares)))


def _frozen(x: Vectors | Halves) -> Vectors | Halves:
    """Give ``x`` read-only, in half precision where it is so, else as float32."""
    if x.dtype != np.float16:
        return frozen(np.asarray(x, np.float32))
    view: Halves = np.ascontiguousarray(x, np.float16).view()
    view.flags.writeable = False
    return view


def _looked_up(
    x: Vectors, rows: NDArray[np.int64], block: slice, table: Vectors | Halves, content: Vectors
) -> Vectors:
    """Factors of a block of items: from the table where the row is known, else from content."""
    at = rows[block]
    known = at >= 0
    factors = np.empty((len(at), table.shape[1]), np.float32)
    factors[known] = table[at[known]]
    if not known.all():
        factors[~known] = x[block][~known] @ content.T
    return factors
