"""Vectors as Postgres sends and takes them in binary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.types import Vectors

HEAD, TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
"""What binary COPY begins and ends with."""


def literal(vector: Vectors) -> str:
    """Give a vector as SQL text; every digit that float32 has."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def place(ctid: bytes) -> str:
    """Give where a row lies as SQL text.

    >>> place(bytes([0, 0, 1, 0, 0, 7]))
    '(256,7)'
    """
    return f"({int.from_bytes(ctid[:4])},{int.from_bytes(ctid[4:])})"


def decoded(values: list[bytes]) -> Vectors:
    """Read vectors as the server sends them: dimension, a zero, big-endian numbers. float32 (n, d)."""
    width = len(values[0])
    raw = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), width)
    return np.ascontiguousarray(raw[:, 4:]).view(">f4").astype(np.float32)


def encoded(vectors: Vectors, places: list[bytes], seen: list[bytes]) -> bytes:
    """Give a binary COPY of rows (tid, xid, vector)."""
    n, d = vectors.shape
    rows: NDArray[Any] = np.zeros(
        n,
        [
            *(("fields", ">i2"), ("l1", ">i4"), ("place", "V6"), ("l2", ">i4"), ("seen", "V4")),
            *(("l3", ">i4"), ("d", ">i2"), ("zero", ">i2"), ("made", f"V{4 * d}")),
        ],
    )
    rows["fields"], rows["l1"], rows["l2"], rows["l3"], rows["d"] = 3, 6, 4, 4 + 4 * d, d
    rows["place"] = np.frombuffer(b"".join(places), "V6")
    rows["seen"] = np.frombuffer(b"".join(seen), "V4")
    rows["made"] = np.ascontiguousarray(vectors, ">f4").view(f"V{4 * d}")[:, 0]  # far faster than by number
    return b"".join((HEAD, rows.data, TAIL))
