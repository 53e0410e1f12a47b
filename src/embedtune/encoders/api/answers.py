"""What an API answered, read and checked: as many vectors as texts, in order, finite, not zero."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.api.providers.base import Provider, Unusable
from embedtune.types import Vectors


class WrongDimension(Unusable):
    """Vectors of another dimension than was asked for, or than all others have."""


def read_vectors(
    provider: Provider, answer: Any, count: int, dimension: int | None
) -> tuple[Vectors, NDArray[np.bool_]]:
    """Give the vectors of an answer, in the order of the texts, and which of them can be used.

    Parameters
    ----------
    provider : Provider
        Who answered.
    answer
        The parsed JSON.
    count : int
        Texts of the request.
    dimension : int, optional
        What every vector must have; where it is not known, they must agree.

    Returns
    -------
    float32 array of shape (count, d), not normalised, and bool array of shape (count,)
        False where a vector is zero, or has a number that is not finite.

    Raises
    ------
    Unusable
        When count, order or form are wrong.
    """
    if not isinstance(answer, Mapping):
        raise Unusable("the answer is no JSON object")
    try:
        rows = provider.rows(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unusable(
            f"the answer has another form than documented ({type(error).__name__}: {error})"
        ) from None
    if len(rows) != count:
        raise Unusable(f"the answer has {len(rows)} vectors for {count} texts")
    numbers = [number for number, _ in rows]
    if numbers != list(range(count)):
        rows.sort(key=lambda row: row[0])
        if sorted(numbers) != list(range(count)):
            raise Unusable("the answer does not number its vectors from 0 on, each once")
    values = [value for _, value in rows]
    matrix = _all_decoded(values)
    if matrix is None:
        matrix = _stacked([_decoded(value) for value in values], dimension)
    elif dimension not in (None, matrix.shape[1]):
        raise WrongDimension(f"the answer has vectors of {matrix.shape[1]} dimensions, not {dimension}")
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(matrix).all(axis=1) & matrix.any(axis=1))
    return matrix, usable


def _all_decoded(values: list[Any]) -> Vectors | None:
    """Read vectors that are all in base64 and of one length, at once; None where they are not."""
    try:
        parts = [binascii.a2b_base64(value, strict_mode=True) for value in values]
    except (TypeError, ValueError):
        return None
    if {len(part) for part in parts} != {len(parts[0])} or not parts[0] or len(parts[0]) % 4:
        return None
    matrix = np.frombuffer(bytearray().join(parts), "<f4").reshape(len(parts), -1)
    return np.ascontiguousarray(matrix, np.float32)


def _stacked(vectors: list[NDArray[np.float32]], dimension: int | None) -> Vectors:
    """Put vectors of one dimension into one array."""
    widths = {len(vector) for vector in vectors}
    if len(widths) != 1 or 0 in widths or widths != {dimension or min(widths)}:
        seen = ", ".join(str(width) for width in sorted(widths))
        expected = f", not {dimension}" if dimension else ""
        raise WrongDimension(f"the answer has vectors of {seen} dimensions{expected}")
    return np.ascontiguousarray(np.stack(vectors), np.float32)


def _decoded(value: Any) -> NDArray[np.float32]:
    """Read one vector, from a list or from base64."""
    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32, copy=False)
        if isinstance(value, Sequence):
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
                return np.array(value, np.float64).astype(np.float32).reshape(len(value))
    except (ValueError, TypeError, OverflowError, binascii.Error):
        pass
    raise Unusable("the answer has a vector that is neither a list of numbers nor float32 in base64")
