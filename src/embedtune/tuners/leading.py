"""Wide vectors in the coordinates of their leading axes: a descent is then fast and overfits less."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from embedtune.training.items import LabelledItems
from embedtune.transforms.blocks import unit_length
from embedtune.tuners.moments import in_blocks

Matrix = NDArray[np.float32]

AXES = 384
"""Vectors that are wider are tuned along so many axes; across them they stay as they are."""


def leading_axes(x: Matrix, most: int = AXES) -> Matrix | None:
    """Give the leading eigenvectors of the second moment of ``x`` (n, d), (d, most); None where d is no more.

    float32 arithmetic will do: the axes are orthonormal to 1e-6, and which of the last ones are kept
    makes no difference.
    """
    n, d = x.shape
    if d <= most:
        return None
    if n >= d:
        moment = in_blocks(n, lambda rows: x[rows].T @ x[rows])
        return np.ascontiguousarray(eigh(moment, subset_by_index=[d - most, d - 1])[1], np.float32)
    leading = x.T @ np.linalg.eigh(x @ x.T)[1][:, -most:]  # few items: the same, from their products
    other = np.random.default_rng(0).standard_normal((d, max(most - n, 0))).astype(np.float32)
    return np.ascontiguousarray(np.linalg.qr(np.c_[leading, other])[0], np.float32)


def along_leading(items: LabelledItems, most: int = AXES) -> tuple[LabelledItems, Matrix | None]:
    """Give the items in the coordinates of the leading eigenvectors of their second moment.

    Parameters
    ----------
    items : LabelledItems
        Vectors (n, d).
    most : int
        Coordinates to keep.

    Returns
    -------
    items : LabelledItems
        Vectors (n, most), brought to unit length again where the similarity is cosine; the given items
        where they are no wider than that.
    axes : float32 array of shape (d, most), or None
        Orthonormal columns; None where nothing was left out.
    """
    x = np.asarray(items.vectors, np.float32)
    axes = leading_axes(x, most)
    if axes is None:
        return items, None
    narrow = x @ axes
    return items.moved(unit_length(narrow) if items.cosine else narrow), axes


def widened(matrix: NDArray[Any], axes: Matrix | None) -> Matrix:
    """Give the map of full width (d, d) that acts as ``matrix`` (k, k) along the axes, and not across."""
    if axes is None:
        return np.asarray(matrix, np.float32)
    change = np.asarray(matrix, np.float32) - np.eye(len(matrix), dtype=np.float32)
    return np.asarray(np.eye(len(axes), dtype=np.float32) + axes @ change @ axes.T, np.float32)
