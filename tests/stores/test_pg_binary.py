"""Vectors in Postgres's binary formats, against what is packed by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest

pytest.importorskip("psycopg")

from embedtune.stores.pg_binary import decoded, encoded, literal

ROWS = np.array([[1.5, -2.0, 0.1], [0.0, 3e-8, -1e30]], np.float32)


def vector(row):
    return struct.pack(">hh3f", 3, 0, *row.tolist())


def test_a_batch_is_what_copy_reads():
    places, seen = [b"\0\0\0\1\0\2", b"\0\0\0\1\0\3"], [b"\0\0\0\7", b"\0\0\1\0"]
    wanted = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
    for place, mark, row in zip(places, seen, ROWS, strict=True):
        wanted += struct.pack(">h", 3)
        for value in (place, mark, vector(row)):
            wanted += struct.pack(">i", len(value)) + value
    wanted += struct.pack(">h", -1)
    assert encoded(ROWS, places, seen) == wanted
    assert encoded(ROWS.repeat(2, axis=1)[:, ::2], places, seen) == wanted  # not contiguous


def test_what_the_server_sends_is_read_to_the_bit():
    assert decoded([vector(row) for row in ROWS]).tobytes() == ROWS.tobytes()


def test_a_literal_has_every_digit():
    numbers = literal(ROWS[0])[1:-1].split(",")
    assert np.array(numbers, np.float64).astype(np.float32).tobytes() == ROWS[0].tobytes()
