"""Vectors of unit length, which tests of all rooms begin with."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedtune.types import Vectors


def unit(x: Any) -> Vectors:
    """Give the rows of ``x``, (..., d), at unit length, as float32."""
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), np.float32)
