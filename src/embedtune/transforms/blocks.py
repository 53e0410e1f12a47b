"""Checks and unit length for blocks of vectors."""

from __future__ import annotations

import numpy as np

from embedtune.errors import VectorError
from embedtune.types import Vectors

SMALLEST_NORM = np.float32(1e-12)
"""Norms are not divided by less than this, as in ``torch.nn.functional.normalize``: a zero row stays zero."""


def as_block(x: Vectors, width: int | None = None) -> Vectors:
    """Give ``x`` as a float32, C-contiguous (n, d) array; no copy where it is one already.

    Raises
    ------
    VectorError
        When ``x`` is not two-dimensional, or ``width`` is given and d differs.
    """
    if x.ndim != 2:
        raise VectorError(
            f"vectors must have the shape (n, d), not {x.shape}",
            fix="use x[None] for a single vector",
        )
    if width is not None and x.shape[1] != width:
        raise VectorError(
            f"vectors have {x.shape[1]} dimensions, the map takes {width}",
            fix="encode with the base model that the map was fitted on",
        )
    return np.ascontiguousarray(x, dtype=np.float32)


def unit_length(x: Vectors) -> Vectors:
    """Divide each row of ``x``, float32 (n, d), by its Euclidean norm, in place; zero rows stay zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", x, x))
    x /= np.maximum(norms, SMALLEST_NORM)[:, None]
    return x


def frozen(x: Vectors) -> Vectors:
    """Give ``x`` as float32, C-contiguous and read-only, so that a fitted map cannot change."""
    view = np.ascontiguousarray(x, dtype=np.float32).view()
    view.flags.writeable = False
    return view
