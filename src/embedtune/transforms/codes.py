"""Documents in few bytes: int8, int4 and binary codes, and what they stand for.

Of all dimensions, codes keep one small whole number: ``levels``. The score of a float query is
``weighed(query) @ levels``, plus a constant of the query, so nothing has to be decoded for a search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import VectorError
from embedtune.transforms.blocks import as_block, frozen
from embedtune.transforms.chain import parts_of
from embedtune.transforms.identity import Identity
from embedtune.types import Transform, Vectors

Codes = NDArray[np.int8] | NDArray[np.uint8]
Levels = NDArray[np.int8]


class _Rounding:
    """What all kinds of codes share: queries stay float, documents become what their codes stand for."""

    scale: Vectors

    @property
    def dims(self) -> int:
        """Dimensions of the vectors that are rounded."""
        return len(self.scale)

    def queries(self, x: Vectors) -> Vectors:
        """Give ``x`` itself: queries are compared as they are."""
        return as_block(x)

    def documents(self, x: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Give what the codes of documents (n, r) stand for, float32 (n, r); ``ids`` play no part."""
        return self.decode(self.codes(x))

    def codes(self, x: Vectors) -> Codes:
        """Round documents, float32 (n, r), to their codes (n, bytes)."""
        raise NotImplementedError

    def levels(self, codes: Codes) -> Levels:
        """Unpack codes to small whole numbers, int8 (n, r)."""
        raise NotImplementedError

    def decode(self, codes: Codes) -> Vectors:
        """Give what codes (n, bytes) stand for, float32 (n, r)."""
        return np.ascontiguousarray(self.scale * self.levels(codes).astype(np.float32))

    def weighed(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """Give queries (n, r) for products with levels, and what to add to each query's scores, (n,).

        ``queries @ decode(codes).T`` is ``weighed @ levels(codes).T + added[:, None]``: what is added is
        the same for all documents, so ranks need the product alone.
        """
        return np.ascontiguousarray(queries * self.scale), np.zeros(len(queries), np.float32)


@dataclass(frozen=True, eq=False)
class Int8(_Rounding):
    """One signed byte a dimension: ``value = offset + scale * level``, level from -127 to 127.

    What the codes stand for has the length of what was rounded to within the rounding, about a
    thousandth: it is not normalised again, so that its scores are exactly those of the codes.

    Parameters
    ----------
    scale, offset : float32 arrays of shape (r,)
        Step and middle of each dimension; steps are above 0.

    Raises
    ------
    VectorError
        When they are not finite, not of one length, or a step is not above 0.
    """

    scale: Vectors
    offset: Vectors
    kind: ClassVar[str] = "int8"
    top: ClassVar[int] = 127
    """Largest level; the lowest is its negative."""

    def __post_init__(self) -> None:
        _check(self.scale, self.offset)
        object.__setattr__(self, "scale", frozen(self.scale))
        object.__setattr__(self, "offset", frozen(self.offset))

    @classmethod
    def fitted(cls, documents: Vectors) -> Self:
        """Calibrate on documents (n, r): each dimension's range becomes 255 steps."""
        low, high = documents.min(axis=0), documents.max(axis=0)
        return cls(_positive((high - low) / (2 * cls.top)), ((low + high) / 2).astype(np.float32))

    @property
    def bytes(self) -> int:
        """Bytes a document."""
        return self.dims

    def codes(self, x: Vectors) -> Codes:
        """Round documents (n, r) to int8 (n, r); values beyond the calibrated range are cut off."""
        x = as_block(x, self.dims)
        levels = np.rint((x - self.offset) / self.scale)
        return np.asarray(np.clip(levels, -self.top, self.top), np.int8)

    def levels(self, codes: Codes) -> Levels:
        """Give the codes themselves."""
        return codes.view(np.int8)

    def decode(self, codes: Codes) -> Vectors:
        """Give what codes (n, bytes) stand for, float32 (n, r)."""
        return self.offset + super().decode(codes)

    def weighed(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """Give queries for products with levels, and what to add to each query's scores, (n,)."""
        return super().weighed(queries)[0], queries @ self.offset

    def scaled(self, strength: float) -> Self | Identity:
        """Give the identity for 0; rounding has no other strengths."""
        return Identity() if strength == 0 else self

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give steps and middles; no settings."""
        return {"scale": self.scale, "offset": self.offset}, {}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Self:
        """Rebuild what ``state`` gave."""
        return cls(tensors["scale"], tensors["offset"])


@dataclass(frozen=True, eq=False)
class Int4(Int8):
    """Half a byte a dimension: as :class:`Int8`, with levels from -7 to 7, two to a byte.

    Steps follow the spread of each dimension, not its range: with so few levels, cutting off the rare
    large values costs less than coarse steps for all others.

    References
    ----------
    Max 1960, Quantizing for minimum distortion, IRE Transactions on Information Theory 6(1), table II:
    the best even step for a normal distribution is about 0.35 of its standard deviation.
    """

    kind: ClassVar[str] = "int4"
    top: ClassVar[int] = 7

    @classmethod
    def fitted(cls, documents: Vectors) -> Self:
        """Calibrate on documents (n, r): middles at the means, steps of 0.35 standard deviations."""
        return cls(_positive(0.35 * documents.std(axis=0)), documents.mean(axis=0).astype(np.float32))

    @property
    def bytes(self) -> int:
        """Bytes a document."""
        return -(-self.dims // 2)

    def codes(self, x: Vectors) -> Codes:
        """Round documents (n, r) to uint8 (n, ceil(r / 2)): level + 8, the first one in the high half."""
        levels = (super().codes(x).view(np.int8) + 8).astype(np.uint8)
        if self.dims % 2:
            levels = np.concatenate([levels, np.zeros((len(levels), 1), np.uint8)], axis=1)
        return np.asarray(levels[:, ::2] << 4 | levels[:, 1::2], np.uint8)

    def levels(self, codes: Codes) -> Levels:
        """Unpack codes to levels, int8 (n, r)."""
        packed = codes.view(np.uint8)
        halves = np.stack([packed >> 4, packed & 15], axis=2).reshape(len(packed), 2 * packed.shape[1])
        return (halves[:, : self.dims].astype(np.int8) - np.int8(8)).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Binary(_Rounding):
    """One bit a dimension, eight to a byte: ``scale`` above the threshold, ``-scale`` below.

    ``scale`` has unit length, so that what the codes stand for has too: it is compared as cosine is.

    Parameters
    ----------
    scale, threshold : float32 arrays of shape (r,)
        What a bit of each dimension counts, above 0, and the value from which on it is set.

    Raises
    ------
    VectorError
        When they are not finite, not of one length, or a scale is not above 0.
    """

    scale: Vectors
    threshold: Vectors
    kind: ClassVar[str] = "binary"

    def __post_init__(self) -> None:
        _check(self.scale, self.threshold)
        object.__setattr__(self, "scale", frozen(self.scale))
        object.__setattr__(self, "threshold", frozen(self.threshold))

    @classmethod
    def fitted(cls, documents: Vectors) -> Binary:
        """Calibrate on documents (n, r): thresholds at the means, a bit counts the mean distance to them."""
        threshold = documents.mean(axis=0)
        scale = _positive(np.abs(documents - threshold).mean(axis=0))
        return cls(scale / np.linalg.norm(scale), threshold.astype(np.float32))

    @property
    def bytes(self) -> int:
        """Bytes a document."""
        return -(-self.dims // 8)

    def codes(self, x: Vectors) -> Codes:
        """Give the bits of documents (n, r), packed: uint8 (n, ceil(r / 8)), first dimension highest bit."""
        return np.packbits(as_block(x, self.dims) > self.threshold, axis=1)

    def query_codes(self, queries: Vectors) -> NDArray[np.uint8]:
        """Give the bits of queries (n, r), packed alike: the signs that their scores go by."""
        return np.packbits(as_block(queries, self.dims) > 0, axis=1)

    def levels(self, codes: Codes) -> Levels:
        """Unpack codes to +1 and -1, int8 (n, r)."""
        bits = np.unpackbits(codes.view(np.uint8), axis=1, count=self.dims)
        return (2 * bits.view(np.int8) - np.int8(1)).astype(np.int8)

    def scaled(self, strength: float) -> Binary | Identity:
        """Give the identity for 0; rounding has no other strengths."""
        return Identity() if strength == 0 else self

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give scales and thresholds; no settings."""
        return {"scale": self.scale, "threshold": self.threshold}, {}

    @classmethod
    def from_state(cls, tensors: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Binary:
        """Rebuild what ``state`` gave."""
        return cls(tensors["scale"], tensors["threshold"])


Rounding = Int8 | Int4 | Binary
ROUNDINGS: dict[str, type[Rounding]] = {"int8": Int8, "int4": Int4, "binary": Binary}
"""Kinds of codes, from the finest."""


def rounding_of(transform: Transform) -> Rounding | None:
    """Give what rounds the documents of ``transform`` last; None where nothing does."""
    last = parts_of(transform)[-1:]
    return next((part for part in last if isinstance(part, Rounding)), None)


def documents_codes(transform: Transform, x: Vectors, ids: Sequence[str] | None = None) -> Codes:
    """Give the codes of documents (n, d) after all maps of ``transform``, shifts of known ``ids`` among them.

    Raises
    ------
    VectorError
        When ``transform`` does not end in codes.
    """
    rounding = rounding_of(transform)
    if rounding is None:
        raise VectorError(
            "these vectors have no codes", fix="tune with dims='auto' or a number (--dims) to fit them"
        )
    return rounding.codes(before_rounding(transform).documents(x, ids))


def before_rounding(transform: Transform) -> Transform:
    """Give ``transform`` without what rounds its documents last."""
    if rounding_of(transform) is None:
        return transform
    from embedtune.transforms.chain import Chain

    return Chain(getattr(transform, "parts", (transform,))[:-1])


def _positive(steps: Vectors) -> Vectors:
    return np.maximum(steps, np.float32(1e-9)).astype(np.float32)


def _check(scale: Vectors, other: Vectors) -> None:
    if scale.ndim != 1 or scale.shape != other.shape:
        raise VectorError(f"codes need one number a dimension, not shapes {scale.shape} and {other.shape}")
    if not (np.isfinite(scale).all() and np.isfinite(other).all() and (scale > 0).all()):
        raise VectorError("codes need finite numbers, and steps above 0")
