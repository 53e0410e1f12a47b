"""A row of quality against bytes: what is within noise, which is taken, and what people read."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedtune.sizes import Size, size_lines, size_of
from embedtune.sizes.choosing import _smallest
from embedtune.transforms import Int8


def size(bytes_: int, score: float, **more: Any) -> Size:
    full = {"dims": 1, "kind": "int8", "share_of_full": score, "ci95": (0.0, 0.0), "p_value": 1.0}
    return Size(bytes=bytes_, score=score, **{**full, **more})


def test_what_is_within_noise() -> None:
    assert size(1, 0.98).within_noise
    assert not size(1, 0.979).within_noise
    assert not size(1, 0.99, p_value=0.04).within_noise
    assert not size(1, 1.0, harms="unseen").within_noise


def test_the_smallest_is_taken_or_the_best_that_is_allowed() -> None:
    sizes = [size(8, 1.0), size(4, 0.99), size(4, 0.995), size(2, 0.9), size(1, 0.5)]
    assert _smallest(sizes, None) == 2
    assert _smallest(sizes, 3) == 3  # none is within noise
    assert _smallest(sizes, 1) == 4


def test_sizes_are_bytes() -> None:
    assert [size_of(kind, 9) for kind in ("float32", "int8", "int4", "binary")] == [36, 9, 5, 2]
    assert size_of("int8", 3) == Int8.fitted(np.eye(3, dtype=np.float32)).bytes


def test_lines_for_people() -> None:
    assert size_lines([]) == []
    lines = size_lines([size(96, 0.98, dims=96, test=0.7, test_share=0.97, chosen=True).to_dict()])
    assert "96 x int8" in lines[1]
    assert "98.0%, on test 97.0%  <- chosen" in lines[1]
